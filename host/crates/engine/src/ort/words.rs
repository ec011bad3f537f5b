//! What ONNX Runtime says, without the places in its own source: who runs a server has no use for them, and clients see why a
//! version is refused.

/// Takes every `/path/file.cc:12 type function(arguments) ` out of a message.
pub(crate) fn words(message: &str) -> String {
    let mut rest = message;
    let mut words = String::with_capacity(message.len());
    while let Some((start, end)) = place(rest) {
        words.push_str(&rest[..start]);
        rest = signature(&rest[end..]).trim_start();
    }
    words.push_str(rest);
    words
}

/// The first word that is a line of a source file.
fn place(text: &str) -> Option<(usize, usize)> {
    let mut start = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let is_line = |ending: &str| {
            let (file, line) = word.trim_end().split_once(ending)?;
            let digits = line.trim_end_matches(':');
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            (file.contains('/') && is_number).then_some(())
        };
        if is_line(".cc:").or_else(|| is_line(".h:")).is_some() {
            return Some((start, start + word.len()));
        }
        start += word.len();
    }
    None
}

/// What follows the signature of a function; all of it where there is none.
fn signature(text: &str) -> &str {
    let Some(open) = text.find('(') else {
        return text;
    };
    // A sentence before the bracket: then it is none of a signature.
    if !text[..open].contains("::") {
        return text;
    }
    let mut depth = 0_usize;
    for (index, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let rest = &text[index + 1..];
            return rest.strip_prefix(" const").unwrap_or(rest);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_source_are_taken_out() {
        for (said, expected) in [
            (
                "Exception during initialization: /src/core/normalizer.cc:90 ort::Locale::Locale(const std::string&) no such locale: x",
                "Exception during initialization: no such locale: x",
            ),
            (
                "Status Message: /src/math/matmul.h:71 ort::common::Status ort::Helper::Compute(f(int), bool) const a_dim == 3 was false. (1 of 2)",
                "Status Message: a_dim == 3 was false. (1 of 2)",
            ),
            (
                "/src/a.cc:1 no bracket, /src/b.cc:22: twice (x)",
                "no bracket, twice (x)",
            ),
            (
                "Load model failed: input 'a/b.cc:x' is none",
                "Load model failed: input 'a/b.cc:x' is none",
            ),
            ("", ""),
        ] {
            assert_eq!(words(said), expected);
        }
    }
}
