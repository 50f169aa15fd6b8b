//! How the cost of one unit grows with what there are more of.

use super::counted::Counted;

/// One path at all its sizes, the smallest first.
pub(super) type Curve<'a> = Vec<&'a Counted>;

/// The paths on which something grows.
pub(super) fn curves(counted: &[Counted]) -> Vec<Curve<'_>> {
    let paths = counted.chunk_by(|one, next| one.name == next.name);
    let growing = paths.filter(|path| path.len() > 1);
    growing.map(|path| path.iter().collect()).collect()
}

/// How many times what one unit costs at the smallest size it costs at the largest. 1: the cost of
/// all is linear.
fn factor(curve: &Curve<'_>) -> f64 {
    match (curve.first(), curve.last()) {
        (Some(first), Some(last)) => last.each() / first.each(),
        _ => 1.0,
    }
}

fn allowed(curve: &Curve<'_>) -> f64 {
    let allowed = curve
        .first()
        .and_then(|one| one.allowed_growth.parse().ok());
    allowed.unwrap_or(1.0)
}

/// A sentence for each path that grows more than it may.
pub(super) fn steep(curves: &[Curve<'_>]) -> Vec<String> {
    let steep = curves.iter().filter(|curve| factor(curve) > allowed(curve));
    let sentences = steep.filter_map(|curve| {
        let (first, last) = (curve.first()?, curve.last()?);
        Some(format!(
            "{}: one {} costs {:.0} instructions with {} {} and {:.0} with {}: {:.2} times as \
             many, allowed is {}",
            first.name,
            first.unit,
            first.each(),
            first.size,
            first.grows,
            last.each(),
            last.size,
            factor(curve),
            first.allowed_growth,
        ))
    });
    sentences.collect()
}

/// All of them in Markdown.
pub(super) fn table(curves: &[Curve<'_>]) -> String {
    let mut table = "| path | more and more | instructions for one | | | growth | allowed |\n\
                     |---|---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for curve in curves {
        let sizes: Vec<String> = curve.iter().map(|one| one.size.to_string()).collect();
        let each: Vec<String> = curve
            .iter()
            .map(|one| format!("{:.0}", one.each()))
            .collect();
        let Some(first) = curve.first() else { continue };
        table.push_str(&format!(
            "| `{}` | {}: {} | {} a {} | {} | {:.2} | {} |\n",
            first.name,
            first.grows,
            sizes.join(", "),
            each[0],
            first.unit,
            each[1..].join(" | "),
            factor(curve),
            first.allowed_growth,
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::counted::tests::counted;
    use super::*;

    #[test]
    fn what_is_worse_than_linear_is_named() {
        let all = [
            counted("hub/join", 100, 50),
            counted("hub/join", 1_000, 51),
            counted("hub/join", 10_000, 52),
            counted("hub/leave", 100, 50),
            counted("hub/leave", 1_000, 60),
            counted("hub/leave", 10_000, 160),
            counted("encode/json", 1_000, 900),
        ];
        let curves = curves(&all);
        assert_eq!(curves.len(), 2, "nothing grows on one of three");
        assert_eq!(
            steep(&curves),
            [
                "hub/leave: one reader costs 50 instructions with 100 readers and 160 with 10000: \
              3.20 times as many, allowed is 1.25"
            ]
        );
        let row =
            "| `hub/leave` | readers: 100, 1000, 10000 | 50 a reader | 60 | 160 | 3.20 | 1.25 |\n";
        assert!(table(&curves).ends_with(row), "{}", table(&curves));
    }
}
