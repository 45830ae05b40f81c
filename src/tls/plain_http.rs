//! Pure. Who speaks HTTP where TLS is spoken hears so in words that it understands: a proxy, or a
//! client whose address begins with the wrong scheme. An alert would be noise to it.

/// What to answer to the first bytes of a connection, if they are a request.
pub(super) fn answer_to(received: &[u8]) -> Option<&'static [u8]> {
    let is_request = METHODS.iter().any(|method| received.starts_with(method));
    is_request.then_some(ANSWER)
}

const METHODS: [&[u8]; 4] = [b"GET ", b"POST ", b"HEAD ", b"OPTIONS "];

/// With an error as in XRPC (ATProto, "HTTP API (XRPC)", "Error Responses").
const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    connection: close\r\n\
    content-type: application/json\r\n\
    content-length: 83\r\n\
    \r\n\
    {\"error\":\"InvalidRequest\",\"message\":\"this port speaks TLS: use https:// or wss://\"}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let answer = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}", body.len());
        assert!(head.ends_with(&length), "{length}");
    }
}
