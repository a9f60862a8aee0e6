//! What holder and supervisor have to say, for `runtime.log`.

/// As `eprintln!`, but a full disk does not end the process that wants to say so.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($arg)*);
    }};
}
pub(crate) use say;
