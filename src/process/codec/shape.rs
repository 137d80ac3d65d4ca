//! [`Shape`]: a digest of what a value's serde code asked for, by which the
//! reading side finds out that it read something else than was written.
//!
//! The bytes do not describe themselves. If `Serialize` leaves a field out and
//! `Deserialize` does not know (`skip_serializing`), the fields behind it move,
//! and by luck of the bytes another value arrives. So both sides fold what they
//! do into a digest, the writer appends it, and the reader compares:
//!
//! * each struct, tuple, variant, option and list, in order. What looks the same
//!   in bytes counts as the same: lists, maps, texts and bytes all begin with
//!   their length.
//! * how many fields each struct had, and their names. These are known before the
//!   fields on one side and after them on the other, so they are summed up.
//!
//! A reader whose struct has aliases cannot tell the names that were written;
//! then the names are not compared. A value of plain numbers has no digest.

/// The size of [`Shape::to_bytes`].
pub(super) const BYTES: usize = 8;

/// Something that is folded.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Begins with a length: a list, a map, text or bytes.
    List = 1,
    Option,
    Struct,
    Tuple,
    UnitVariant,
    NewtypeVariant,
    TupleVariant,
    StructVariant,
}

#[derive(Debug, Default)]
pub(super) struct Shape {
    kinds: u64,
    counts: u64,
    names: u64,
    names_are_unknown: bool,
}

impl Shape {
    #[inline]
    pub(super) fn fold(&mut self, kind: Kind) {
        self.kinds = step(self.kinds, kind as u64);
    }

    /// Folds something of several unnamed parts.
    #[inline]
    pub(super) fn fold_parts(&mut self, kind: Kind, parts: usize) {
        self.kinds = step(step(self.kinds, kind as u64), parts as u64);
    }

    /// Adds a struct whose fields were all seen.
    #[inline]
    pub(super) fn add_fields(&mut self, fields: Fields) {
        self.add_count(fields.count);
        self.names = self.names.wrapping_add(fields.names);
    }

    /// Adds a struct that was read by a type that knows `names`, of which it may
    /// have more than fields: aliases.
    #[inline]
    pub(super) fn add_read(&mut self, count: usize, names: &[&str]) {
        self.add_count(count as u64);
        if count == names.len() {
            let mut fields = Fields::default();
            for name in names {
                fields.add(name);
            }
            self.names = self.names.wrapping_add(fields.names);
        } else {
            self.names_are_unknown = true;
        }
    }

    fn add_count(&mut self, count: u64) {
        self.counts = self.counts.wrapping_add(step(count, 1));
    }

    /// Adds a variant.
    #[inline]
    pub(super) fn add_variant(&mut self, name: VariantName) {
        self.names = self.names.wrapping_add(name.0);
    }

    /// Whether there is anything to compare.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.kinds == 0
    }

    pub(super) fn to_bytes(&self) -> [u8; BYTES] {
        let [k0, k1, k2, k3, ..] = high_half(step(self.kinds, self.counts));
        let [n0, n1, n2, n3, ..] = high_half(step(self.names, 1));
        [k0, k1, k2, k3, n0, n1, n2, n3]
    }

    /// Whether the writer did what this reader did.
    pub(super) fn agrees_with(&self, written: [u8; BYTES]) -> bool {
        let read = self.to_bytes();
        read[..4] == written[..4] && (self.names_are_unknown || read[4..] == written[4..])
    }
}

/// The fields of one struct, in their order.
#[derive(Debug, Default)]
pub(super) struct Fields {
    count: u64,
    names: u64,
}

impl Fields {
    #[inline]
    pub(super) fn add(&mut self, name: &str) {
        self.count += 1;
        self.names = step(self.names, hash(name));
    }
}

/// The name of an enum's variant, hashed.
#[derive(Clone, Copy)]
pub(super) struct VariantName(u64);

impl VariantName {
    #[inline]
    pub(super) fn new(name: &str) -> Self {
        Self(hash(name))
    }

    /// A byte that mostly tells the variants of an enum apart.
    #[inline]
    pub(super) fn hint(self) -> u8 {
        high_half(self.0)[3]
    }
}

/// One step of a multiplicative hash, as in `FxHasher`.
#[inline]
fn step(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// The better mixed bits first.
fn high_half(hash: u64) -> [u8; 8] {
    (hash >> 32).to_le_bytes()
}

#[inline]
fn hash(name: &str) -> u64 {
    let mut hash = step(0, name.len() as u64);
    for chunk in name.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = step(hash, u64::from_le_bytes(word));
    }
    hash
}
