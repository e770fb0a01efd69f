//! Inclusion and consistency proofs: RFC 6962, sections 2.1.1 and 2.1.2; verified as RFC 9162, section 2.1, does.

use super::tree::{Hash, node_hash};

/// Longest proof of a tree of less than 2^63 entries, with one hash more for consistency.
const PROOF_HASHES_MAX: usize = 64;

/// Where hashes of complete subtrees come from: `(height, index)` is the one of `2^height` entries that begins at
/// `index * 2^height`.
pub(super) type Nodes<'a, E> = &'a mut dyn FnMut(u32, u64) -> Result<Hash, E>;

/// MTH(D[start:end]) of a subtree as RFC 6962 cuts them: only the last one may be incomplete.
pub(super) fn subtree<E>(start: u64, end: u64, nodes: Nodes<'_, E>) -> Result<Hash, E> {
    let size = end - start;
    if size.is_power_of_two() {
        return nodes(size.trailing_zeros(), start / size);
    }
    let middle = start + split(size);
    let left = subtree(start, middle, nodes)?;
    let right = subtree(middle, end, nodes)?;
    Ok(node_hash(&left, &right))
}

/// The proof that entry `index` is in the tree of `size` entries, from the leaf's sibling upwards.
pub(super) fn inclusion<E>(index: u64, size: u64, nodes: Nodes<'_, E>) -> Result<Vec<Hash>, E> {
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(subtree(middle, end, nodes)?);
            end = middle;
        } else {
            proof.push(subtree(start, middle, nodes)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `old` entries is the beginning of the one of `new`. Empty if `old` is 0 or `new`.
pub(super) fn consistency<E>(old: u64, new: u64, nodes: Nodes<'_, E>) -> Result<Vec<Hash>, E> {
    if old == 0 || old >= new {
        return Ok(Vec::new());
    }
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, new);
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(subtree(middle, end, nodes)?);
            end = middle;
        } else {
            proof.push(subtree(start, middle, nodes)?);
            start = middle;
        }
    }
    // The old tree's own root is known to whoever asks; a subtree of it is not.
    if start != 0 {
        proof.push(subtree(start, end, nodes)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The largest power of two smaller than `size`, which is at least 2.
const fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// Whether `proof` shows that `leaf` is entry `index` of the tree of `size` entries with this root (RFC 9162,
/// section 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place.is_multiple_of(2) && place != 0 {
                place /= 2;
                last /= 2;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place /= 2;
        last /= 2;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `old` entries is the beginning of the one of `new` (RFC 9162, section
/// 2.1.4.2). Every tree begins with the empty one.
pub fn verify_consistency(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 || old_size == new_size {
        return proof.is_empty() && (old_size == 0 || old_root == new_root) && old_size <= new_size;
    }
    if old_size > new_size || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    let own_root = old_size.is_power_of_two().then_some(old_root);
    let mut hashes = own_root.into_iter().chain(proof);
    let Some(first) = hashes.next() else { return false };
    let (mut place, mut last) = (old_size - 1, new_size - 1);
    while place % 2 == 1 {
        place /= 2;
        last /= 2;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            old_hash = node_hash(hash, &old_hash);
            new_hash = node_hash(hash, &new_hash);
            while place.is_multiple_of(2) && place != 0 {
                place /= 2;
                last /= 2;
            }
        } else {
            new_hash = node_hash(&new_hash, hash);
        }
        place /= 2;
        last /= 2;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::audit::tree::{Edge, empty_root, leaf_hash};

    pub(in crate::audit) fn leaf(n: u64) -> Hash {
        leaf_hash(&n.to_be_bytes())
    }

    /// RFC 6962, section 2.1, word for word.
    pub(in crate::audit) fn reference_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            _ => {
                let (left, right) = leaves.split_at(usize::try_from(split(leaves.len() as u64)).unwrap());
                node_hash(&reference_root(left), &reference_root(right))
            }
        }
    }

    fn node_of(leaves: &[Hash]) -> impl FnMut(u32, u64) -> Result<Hash, ()> + '_ {
        |height, index| {
            let width = 1_usize << height;
            let start = usize::try_from(index).unwrap() * width;
            leaves.get(start..start + width).map(reference_root).ok_or(())
        }
    }

    #[test]
    fn every_entry_of_small_trees_is_proven_and_nothing_else() {
        let leaves: Vec<Hash> = (0..40).map(leaf).collect();
        for size in 1..=40_u64 {
            let tree = &leaves[..usize::try_from(size).unwrap()];
            let root = reference_root(tree);
            for index in 0..size {
                let proof = inclusion(index, size, &mut node_of(tree)).unwrap();
                assert!(verify_inclusion(&leaf(index), index, size, &proof, &root), "{index} of {size}");
                assert!(!verify_inclusion(&leaf(99), index, size, &proof, &root));
                assert!(!verify_inclusion(&leaf(index), index + 1, size, &proof, &root));
                assert!(!verify_inclusion(&leaf(index), index, size, &proof, &empty_root()));
                let longer = [proof.as_slice(), &[leaf(0)]].concat();
                assert!(!verify_inclusion(&leaf(index), index, size, &longer, &root));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!verify_inclusion(&leaf(index), index, size, shorter, &root));
                }
            }
        }
    }

    #[test]
    fn every_two_small_trees_are_proven_consistent_and_others_not() {
        let leaves: Vec<Hash> = (0..33).map(leaf).collect();
        for new in 1..=33 {
            let new_root = reference_root(&leaves[..new]);
            for old in 0..=new {
                let old_root = reference_root(&leaves[..old]);
                let (old, new) = (old as u64, new as u64);
                let proof = consistency(old, new, &mut node_of(&leaves)).unwrap();
                assert!(verify_consistency((old, &old_root), (new, &new_root), &proof), "{old} to {new}");
                if old > 0 {
                    assert!(!verify_consistency((old, &leaf(99)), (new, &new_root), &proof));
                    assert!(!verify_consistency((old, &old_root), (new, &leaf(99)), &proof));
                }
                for place in 0..proof.len() {
                    let mut other = proof.clone();
                    other[place][0] ^= 1;
                    assert!(!verify_consistency((old, &old_root), (new, &new_root), &other));
                }
            }
        }
    }

    #[test]
    fn the_edge_proves_the_last_256_entries() {
        let mut edge = Edge::default();
        let leaves: Vec<Hash> = (0..1000).map(leaf).collect();
        for n in 0..1000_u64 {
            edge.push(leaf(n));
            let size = n + 1;
            if size % 61 == 0 || size % 256 < 2 {
                let root = reference_root(&leaves[..usize::try_from(size).unwrap()]);
                for index in size.saturating_sub(256)..size {
                    let proof = inclusion(index, size, &mut |h, i| edge.node(h, i).ok_or((h, i))).unwrap();
                    assert!(verify_inclusion(&leaf(index), index, size, &proof, &root), "{index} of {size}");
                }
            }
        }
    }
}
