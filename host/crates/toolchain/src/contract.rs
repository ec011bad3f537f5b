//! The WIT files of the contract that this program was made with.

/// Each file's name and its text.
pub(crate) const FILES: [(&str, &str); 5] = [
    ("types.wit", include_str!("../../../../wit/v1/types.wit")),
    (
        "imports.wit",
        include_str!("../../../../wit/v1/imports.wit"),
    ),
    (
        "abilities.wit",
        include_str!("../../../../wit/v1/abilities.wit"),
    ),
    ("stages.wit", include_str!("../../../../wit/v1/stages.wit")),
    ("worlds.wit", include_str!("../../../../wit/v1/worlds.wit")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_of_the_contract_is_missing() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../wit/v1");
        let mut there: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut known = FILES.map(|(name, _)| name.to_owned());
        there.sort();
        known.sort();
        assert_eq!(there, known);
    }
}
