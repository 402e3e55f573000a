use std::fs;

use bucky_whisper::{CreateOptions, Difference, Image, create, diff};

use crate::folder::{Folder, NOW, options, update};

#[test]
fn a_file_does_not_differ_from_itself() {
    let folder = Folder::new();
    let bytes = fs::read(folder.file("a.wsp", &[(NOW - 1, 1.0), (NOW, f64::NAN)])).unwrap();
    let image = Image::parse(&bytes).unwrap();
    let archives = diff(&image, &image, NOW);
    assert_eq!(archives.len(), 2);
    assert!(archives.iter().all(|archive| archive.differences.is_empty()));
    assert_eq!(archives[0].slots_compared, 1);
}

#[test]
fn each_slot_that_differs_is_listed_with_both_values() {
    let folder = Folder::new();
    let left =
        fs::read(folder.file("l.wsp", &[(NOW - 3, 1.0), (NOW - 2, 2.0), (NOW, -0.0)])).unwrap();
    let right =
        fs::read(folder.file("r.wsp", &[(NOW - 2, 2.5), (NOW - 1, 3.0), (NOW, 0.0)])).unwrap();
    let archives = diff(&Image::parse(&left).unwrap(), &Image::parse(&right).unwrap(), NOW);
    let difference = |timestamp, left, right| Difference { timestamp, left, right };
    assert_eq!(archives[0].seconds_per_point, 1);
    assert_eq!(archives[0].slots_compared, 4);
    assert_eq!(
        archives[0].differences,
        [
            difference(NOW - 3, Some(1.0), None),
            difference(NOW - 2, Some(2.0), Some(2.5)),
            difference(NOW - 1, None, Some(3.0)),
        ]
    );
    assert_eq!(archives[1].differences, []);
}

#[test]
fn files_of_different_layouts_are_compared_by_resolution() {
    let folder = Folder::new();
    let left = folder.file("left.wsp", &[(NOW, 1.0)]);
    let right = folder.path("right.wsp");
    let retentions = vec!["1s:2m".parse().unwrap(), "10s:10m".parse().unwrap()];
    create(&right, &CreateOptions { retentions, ..options() }).unwrap();
    update(&right).update(1.0, NOW, NOW).unwrap();
    let (left, right) = (fs::read(left).unwrap(), fs::read(right).unwrap());
    let archives = diff(&Image::parse(&left).unwrap(), &Image::parse(&right).unwrap(), NOW);
    let seen: Vec<_> = archives
        .iter()
        .map(|a| (a.seconds_per_point, a.left_points, a.right_points, a.differences.len()))
        .collect();
    assert_eq!(
        seen,
        [(1, Some(60), Some(120), 0), (10, None, Some(60), 1), (60, Some(10), None, 1)]
    );
}
