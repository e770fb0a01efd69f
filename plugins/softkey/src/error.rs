//! What the file system says, as codes of the contract.

use std::io::ErrorKind;
use std::path::Path;

use prokura_plugin::{Error, ErrorCode};

/// Says which file failed and who must act.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let code = match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => {
            ErrorCode::ValidationError
        }
        ErrorKind::PermissionDenied => ErrorCode::AccessDenied,
        ErrorKind::TimedOut => ErrorCode::Timeout,
        _ => ErrorCode::Error,
    };
    Error::new(code, format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_the_callers_and_a_forbidden_one_the_operators() {
        let code = |kind: ErrorKind| unreadable(Path::new("k"), &kind.into()).code;
        assert_eq!(code(ErrorKind::NotFound), ErrorCode::ValidationError);
        assert_eq!(code(ErrorKind::PermissionDenied), ErrorCode::AccessDenied);
        assert_eq!(code(ErrorKind::StorageFull), ErrorCode::Error);
    }
}
