//! The sampling queries that come with the programs: `sql: everyone` names one without a file.

use std::path::Path;

/// Names and texts.
const QUERIES: [(&str, &str); 8] = [
    ("everyone", include_str!("../../../sample-stage/sql/everyone.sql")),
    ("uniform", include_str!("../../../sample-stage/sql/uniform.sql")),
    ("clone_small_brands", include_str!("../../../sample-stage/sql/clone_small_brands.sql")),
    (
        "clone_without_high_volume",
        include_str!("../../../sample-stage/sql/clone_without_high_volume.sql"),
    ),
    (
        "clone_masking_high_volume",
        include_str!("../../../sample-stage/sql/clone_masking_high_volume.sql"),
    ),
    ("balance_by_volume", include_str!("../../../sample-stage/sql/balance_by_volume.sql")),
    ("top_users_per_brand", include_str!("../../../sample-stage/sql/top_users_per_brand.sql")),
    ("ml_ros", include_str!("../../../sample-stage/sql/ml_ros.sql")),
];

/// The text of the query that a path names, if it is the plain name of one.
///
/// The manifest's loader leaves such a name as it is only if there is no file of this name.
pub fn text(path: &Path) -> Option<&'static str> {
    let name = path.to_str()?;
    QUERIES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    QUERIES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_of_the_folder_has_a_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample-stage/sql");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let mut named: Vec<String> = names().map(str::to_owned).collect();
        files.sort();
        named.sort();
        assert_eq!(files, named);
        assert!(text(Path::new("everyone")).unwrap().contains("select"));
        assert_eq!(text(Path::new("everyone.sql")), None);
        assert_eq!(text(Path::new("folder/everyone")), None);
    }
}
