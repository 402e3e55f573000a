//! The nodes of a command line, also as people paste them from a relay's configuration.

use crate::{Node, NodeError};

/// The nodes that `words` name, in their order. A word is a node, or a part of carbon's DESTINATIONS:
/// `HOST:PORT[:INSTANCE]` with commas and blanks between the destinations. A shell cuts such a value at its
/// blanks, so a comma at the end of a word belongs to the list.
///
/// # Errors
/// [`NodeListError`] names the word.
pub fn read_nodes<S: AsRef<str>>(words: &[S]) -> Result<Vec<Node>, NodeListError> {
    let mut nodes = Vec::with_capacity(words.len());
    for (index, word) in words.iter().map(AsRef::as_ref).enumerate() {
        nodes.extend(nodes_in(word, index + 1 == words.len())?);
    }
    Ok(nodes)
}

/// The nodes in one of several words, as [`read_nodes`] takes them.
///
/// # Errors
/// [`NodeListError`] names the word.
pub fn nodes_in(word: &str, is_last: bool) -> Result<Vec<Node>, NodeListError> {
    let node = |text: &str| {
        let node = text.parse();
        node.map_err(|source| NodeListError::Node { text: text.to_owned(), source })
    };
    destinations(word, is_last)?.into_iter().map(node).collect()
}

/// The texts of the nodes in one word. Only carbon's form is cut at commas: the instance in `HOST=INSTANCE` may have some.
fn destinations(word: &str, is_last: bool) -> Result<Vec<&str>, NodeListError> {
    if !word.contains([',', ' ', '\t', '\n']) {
        return Ok(vec![word]);
    }
    let list = if is_last { word } else { word.strip_suffix(',').unwrap_or(word) };
    let parts: Vec<&str> = list.split(',').map(str::trim).collect();
    let with_instance = parts.iter().filter(|part| part.contains('=')).count();
    match with_instance {
        0 if parts.iter().any(|part| part.is_empty()) => {
            Err(NodeListError::Empty { text: word.to_owned() })
        }
        0 => Ok(parts),
        // An instance with a comma, which carbon-c-relay may have. A port behind the comma is that of a node.
        1 if parts.first().is_some_and(|first| first.contains('='))
            && !parts[1..].iter().any(|part| part.contains(':'))
            && !word.contains(' ')
            && !word.ends_with(',') =>
        {
            Ok(vec![word])
        }
        _ => Err(NodeListError::Joined {
            text: word.to_owned(),
            apart: parts.join(" ").trim().to_owned(),
        }),
    }
}

/// Why a command line gives no nodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeListError {
    /// A text is not a node.
    #[error("node {text:?}")]
    Node {
        /// The text.
        text: String,
        /// What is wrong with it.
        source: NodeError,
    },
    /// Nothing between two commas, or behind the last one.
    #[error("{text:?} has a comma without a destination; leave the comma out")]
    Empty {
        /// The word.
        text: String,
    },
    /// Nodes in our notation, joined by commas.
    #[error("{text:?} could be one node or several; separate nodes by blanks: {apart}")]
    Joined {
        /// The word.
        text: String,
        /// Its parts, separated by blanks.
        apart: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> String {
        match read_nodes(words) {
            Ok(nodes) => nodes.iter().map(Node::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn a_destinations_value_is_taken_whole_or_cut_by_the_shell() {
        let due = "a:2003=x b:2003=y c:2003";
        for words in [
            &["a:2003:x, b:2003:y, c:2003"][..],
            &["a:2003:x,b:2003:y,c:2003"],
            &["a:2003:x,", "b:2003:y,", "c:2003"],
            &["a:2003:x,b:2003:y,", "c:2003"],
            &["a:2003:x", "b:2003:y", "c:2003"],
            &["a:2003=x", "b:2003:y", "c:2003"],
            &[" a:2003:x,\n    b:2003:y,\n    c:2003\n"],
        ] {
            assert_eq!(read(words), due, "{words:?}");
        }
    }

    #[test]
    fn an_instance_may_have_a_comma() {
        assert_eq!(read(&["a:1=x,y", "b"]), "a:1=x,y b");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_with_the_right_form() {
        assert_eq!(
            read(&["a=x,b=y"]),
            "error: \"a=x,b=y\" could be one node or several; separate nodes by blanks: a=x b=y"
        );
        assert_eq!(
            read(&["a:2003=x,b:2003,c:2003"]),
            "error: \"a:2003=x,b:2003,c:2003\" could be one node or several; separate nodes by blanks: \
             a:2003=x b:2003 c:2003"
        );
        assert!(read(&["a:1,b=y"]).contains("separate nodes by blanks: a:1 b=y"));
        assert!(read(&["a=x,", "b=y"]).ends_with("separate nodes by blanks: a=x"));
        assert!(read(&["a=x, b:1"]).contains("separate nodes by blanks: a=x b:1"));
        for words in [&["a:1:x,,b:1:y"][..], &["a:1:x,"], &[","], &["a:1:x", ","]] {
            assert!(read(words).contains("a comma without a destination"), "{words:?}");
        }
        assert_eq!(read(&["a b"]), "error: node \"a b\"");
    }
}
