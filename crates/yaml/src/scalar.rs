//! What an unquoted word means.

/// Typed reading of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    /// `~`, `null` or nothing.
    Null,
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// Decimal, `0x`, `0o`, `0b` or a leading zero for octal; underscores allowed.
    Int(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// Anything else.
    Str(&'a str),
}

impl<'a> Scalar<'a> {
    /// Reads a plain (unquoted) scalar.
    pub fn of(text: &'a str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                return Scalar::Bool(true);
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off"
            | "OFF" => return Scalar::Bool(false),
            _ => {}
        }
        let first = text.as_bytes()[0];
        if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
            return Scalar::Str(text);
        }
        let digits = text.replace('_', "");
        if let Some(n) = integer(&digits) {
            return Scalar::Int(n);
        }
        match digits.as_str() {
            ".inf" | ".Inf" | ".INF" | "+.inf" => return Scalar::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
            ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
            _ => {}
        }
        let looks_float = digits.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
            && digits.bytes().any(|b| b.is_ascii_digit());
        match digits.parse::<f64>() {
            Ok(f) if looks_float => Scalar::Float(f),
            _ => Scalar::Str(text),
        }
    }
}

fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    // A sign within is none: `0-3` is a text.
    if lower.contains(['+', '-']) {
        return None;
    }
    let parsed = if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16)
    } else if let Some(oct) = lower.strip_prefix("0o") {
        i64::from_str_radix(oct, 8)
    } else if let Some(bin) = lower.strip_prefix("0b") {
        i64::from_str_radix(bin, 2)
    } else if lower.len() > 1 && lower.starts_with('0') {
        i64::from_str_radix(&lower[1..], 8)
    } else {
        if lower.is_empty() || !lower.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        lower.parse()
    };
    parsed.ok().map(|n| sign * n)
}

#[cfg(test)]
mod tests {
    use super::Scalar;

    #[test]
    fn words_have_the_types_that_go_yaml_gives_them() {
        assert_eq!(Scalar::of("yes"), Scalar::Bool(true));
        assert_eq!(Scalar::of("off"), Scalar::Bool(false));
        assert_eq!(Scalar::of("~"), Scalar::Null);
        assert_eq!(Scalar::of("010"), Scalar::Int(8));
        for text in ["0-3", "0-10", "0x-5", "--5"] {
            assert_eq!(Scalar::of(text), Scalar::Str(text), "{text}");
        }
        assert_eq!(Scalar::of("0x1F"), Scalar::Int(31));
        assert_eq!(Scalar::of("1_000"), Scalar::Int(1000));
        assert_eq!(Scalar::of("-5"), Scalar::Int(-5));
        assert_eq!(Scalar::of("1.5"), Scalar::Float(1.5));
        assert_eq!(Scalar::of("22:22"), Scalar::Str("22:22"));
        assert_eq!(Scalar::of("1.2.3"), Scalar::Str("1.2.3"));
        assert_eq!(Scalar::of("-"), Scalar::Str("-"));
        assert_eq!(Scalar::of("e1"), Scalar::Str("e1"));
        assert_eq!(Scalar::of("."), Scalar::Str("."));
        assert_eq!(Scalar::of("9223372036854775808"), Scalar::Float(2f64.powi(63)));
    }
}
