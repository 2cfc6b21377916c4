//! The docs say what the code does.

use orders::domain::state;

#[test]
fn the_architecture_shows_the_table_of_moves() {
    let text = include_str!("../../../../docs/ARCHITECTURE.md");
    let diagram = state::diagram();
    assert!(text.contains(&diagram), "docs/ARCHITECTURE.md should hold:\n{diagram}");
}
