//! Variables that stand for flags: an empty one says nothing, and for yes and no there are several
//! words.

use clap::{ArgAction, Command};
use std::collections::BTreeMap;

/// Brings the variables of all flags into the form the flags take. To be called before any thread
/// is started.
pub fn tidy(command: &Command) {
    let mut known = BTreeMap::new();
    collect(command, &mut known);
    for (name, is_switch) in known {
        let Ok(value) = std::env::var(&name) else { continue };
        match plain(&value, is_switch) {
            Plain::AsItIs => {}
            // SAFETY: no other thread has been started.
            Plain::Unset => unsafe { std::env::remove_var(&name) },
            // SAFETY: as above.
            Plain::Word(word) => unsafe { std::env::set_var(&name, word) },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Plain {
    AsItIs,
    Unset,
    Word(&'static str),
}

fn plain(value: &str, is_switch: bool) -> Plain {
    match value.to_ascii_lowercase().as_str() {
        "" => Plain::Unset,
        "1" | "t" | "yes" | "y" | "on" | "true" if is_switch => Plain::Word("true"),
        "0" | "f" | "no" | "n" | "off" | "false" if is_switch => Plain::Word("false"),
        _ => Plain::AsItIs,
    }
}

fn collect(command: &Command, known: &mut BTreeMap<String, bool>) {
    for arg in command.get_arguments() {
        if let Some(name) = arg.get_env().and_then(|name| name.to_str()) {
            let is_switch = matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
            known.insert(name.to_string(), is_switch);
        }
    }
    for sub in command.get_subcommands() {
        collect(sub, known);
    }
}

#[cfg(test)]
mod tests {
    use super::{Plain, plain};

    #[test]
    fn words_for_yes_and_no() {
        for yes in ["1", "yes", "TRUE", "On", "t"] {
            assert_eq!(plain(yes, true), Plain::Word("true"), "{yes}");
        }
        assert_eq!(plain("0", true), Plain::Word("false"));
        assert_eq!(plain("", true), Plain::Unset);
        assert_eq!(plain("", false), Plain::Unset);
        assert_eq!(plain("1", false), Plain::AsItIs);
        assert_eq!(plain("perhaps", true), Plain::AsItIs);
    }
}
