//! Everything in the protos has a comment: they are the reference of the public contract.

use super::File;

/// Fields, messages, RPCs, services, enums and their values without a comment.
#[must_use]
pub fn undocumented(files: &[File]) -> Vec<String> {
    let protos = files.iter().filter(|file| file.is("proto"));
    protos.flat_map(in_file).collect()
}

fn in_file(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let mut commented = false;
    for (number, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("//") {
            commented = true;
            continue;
        }
        if let Some(name) = declared(line)
            && !commented
            && !line.contains("//")
        {
            let place = format!("{}:{}", file.path, number + 1);
            found.push(format!("{place}: {name} has no comment"));
        }
        commented = false;
    }
    found
}

/// What a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    match first {
        "message" | "enum" | "service" | "rpc" | "oneof" => {
            return words
                .next()
                .map(|name| name.split('(').next().unwrap_or(name));
        }
        "syntax" | "package" | "import" | "option" | "reserved" | "extensions" => return None,
        _ => {}
    }
    let (left, right) = line.split_once('=')?;
    let number = right.trim_start().starts_with(|c: char| c.is_ascii_digit());
    let name = left.split_whitespace().next_back()?;
    number.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_without_a_comment_is_found() {
        let text = "syntax = \"proto3\";\n\npackage a;\nmessage M {\n  string one = 1;\n  \
                    map<string, Odd> two = 2;\n}\nenum E {\n  E_UNSPECIFIED = 0;\n}\n\
                    service S {\n  rpc Do(M) returns (M);\n}\n";
        let found = undocumented(&[File::new("a.proto", text)]).join("\n");
        for name in ["M", "one", "two", "E", "E_UNSPECIFIED", "S", "Do"] {
            assert!(found.contains(&format!(": {name} has")), "{name}: {found}");
        }
    }

    #[test]
    fn what_is_commented_passes() {
        let text = "// M.\nmessage M {\n  // One.\n  string one = 1;\n  reserved 2;\n  \
                    // Life.\n  enum State {\n    S = 0; // Not said.\n  }\n}\n";
        let found = undocumented(&[File::new("a.proto", text)]);
        assert_eq!(found, Vec::<String>::new());
    }
}
