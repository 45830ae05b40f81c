// Transport padding: an MLSMessage followed by zeros up to a bucket, so that its
// length says little about what was written.

const SMALL = [512, 1024, 2048, 4096, 8192]
const STEP = 8192

export const bucket = (length) =>
  SMALL.find((size) => length <= size) ?? Math.ceil(length / STEP) * STEP

export const pad = (message) => {
  const padded = new Uint8Array(bucket(message.length))
  padded.set(message)
  return padded
}

export const isPadding = (rest) => rest.every((byte) => byte === 0)
