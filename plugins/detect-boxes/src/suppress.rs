//! Non-maximum suppression: of boxes that overlap, the one with the best score stays.

use crate::candidates::Candidate;
use crate::settings::Ready;

/// The objects of an image, the best score first; of equal ones the earlier box. The work is at most that of
/// `max_candidates` times `max_boxes` comparisons, whatever the model gives.
pub(crate) fn suppress(settings: &Ready, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    let better =
        |a: &Candidate, b: &Candidate| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index));
    let most = settings.max_candidates;
    if candidates.len() > most {
        candidates.select_nth_unstable_by(most, better);
        candidates.truncate(most);
    }
    candidates.sort_unstable_by(better);
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if kept.len() == settings.max_boxes {
            break;
        }
        let hidden = kept.iter().any(|better| {
            (settings.across_classes || better.class == candidate.class)
                && overlaps(&better.corners, &candidate.corners, settings.iou_threshold)
        });
        if !hidden {
            kept.push(candidate);
        }
    }
    kept
}

/// Whether the intersection of two boxes is more than this part of their union. In binary64, where no area overflows.
fn overlaps(a: &[f32; 4], b: &[f32; 4], threshold: f32) -> bool {
    let width = a[2].min(b[2]) - a[0].max(b[0]);
    let height = a[3].min(b[3]) - a[1].max(b[1]);
    if width <= 0.0 || height <= 0.0 {
        return false;
    }
    let common = f64::from(width) * f64::from(height);
    let union = area(a) + area(b) - common;
    common > f64::from(threshold) * union
}

fn area(corners: &[f32; 4]) -> f64 {
    let side = |from: usize| f64::from(corners[from + 2]) - f64::from(corners[from]);
    side(0) * side(1)
}
