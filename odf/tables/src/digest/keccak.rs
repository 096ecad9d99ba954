//! SHA3-256 of several streams side by side (FIPS 202).
//!
//! Keccak-f[1600] works on 25 words, step after step, and leaves most of a processor idle. A vector register holds the same
//! word of four or eight states, so that as many streams go through the permutation in little more than the time of one. On
//! an AMD EPYC with AVX-512 eight take 1.5 times as long as one alone, with AVX2 four take 1.3 times as long.
//!
//! The streams need not be equally long: those with the most bytes waiting go first. A stream that is alone takes two thirds
//! of the time in vector registers too, because AVX-512 has instructions for what Keccak does.

/// Bytes of a stream that go into the state between two permutations (the rate of SHA3-256).
const RATE: usize = 136;

/// Words of the rate.
const RATE_WORDS: usize = RATE / 8;

/// Blocks after which the streams that go side by side are chosen anew, if there are more than go at once.
const BLOCKS_PER_CHOICE: usize = 64;

type State = [u64; 25];

/// A stream that is being hashed.
#[derive(Debug, Clone, Default)]
pub(super) struct Sponge {
    state: State,
    /// What was given and is not in the state yet.
    waiting: Vec<u8>,
    /// How many bytes of it are in the state after all.
    absorbed: usize,
}

impl Sponge {
    /// Where the next bytes of the stream are put, behind those that wait.
    pub(super) fn waiting(&mut self) -> &mut Vec<u8> {
        &mut self.waiting
    }

    fn blocks(&self) -> usize {
        (self.waiting.len() - self.absorbed) / RATE
    }

    fn input(&self, blocks: usize) -> &[[u8; RATE]] {
        &self.waiting[self.absorbed..].as_chunks::<RATE>().0[..blocks]
    }

    /// Keeps only what is less than a block.
    fn settle(&mut self) {
        self.waiting.drain(..self.absorbed);
        self.absorbed = 0;
    }
}

/// Takes into the states what waits, but for less than a block of each stream.
pub(super) fn absorb<'a>(sponges: impl IntoIterator<Item = &'a mut Sponge>) {
    let mut sponges: Vec<&mut Sponge> = sponges.into_iter().collect();
    let width = side_by_side();
    loop {
        let filled = sponges.iter_mut().filter(|sponge| sponge.blocks() > 0);
        let mut waiting: Vec<&mut Sponge> = filled.map(|sponge| &mut **sponge).collect();
        waiting.sort_by_key(|sponge| std::cmp::Reverse(sponge.blocks()));
        let most = if waiting.len() > width {
            BLOCKS_PER_CHOICE
        } else {
            usize::MAX
        };
        waiting.truncate(width);
        let Some(fewest) = waiting.last().map(|sponge| sponge.blocks().min(most)) else {
            break;
        };
        absorb_blocks(&mut waiting, fewest);
    }
    for sponge in sponges {
        sponge.settle();
    }
}

/// The SHA3-256 of each stream.
pub(super) fn finish(mut sponges: Vec<Sponge>) -> Vec<[u8; 32]> {
    absorb(&mut sponges);
    for sponge in &mut sponges {
        // Less than a block waits.
        let length = sponge.waiting.len();
        sponge.waiting.resize(RATE, 0);
        if let Some(block) = sponge.waiting.first_chunk_mut() {
            pad(block, length);
        }
    }
    absorb(&mut sponges);
    sponges.into_iter().map(|sponge| hash_of(&sponge.state)).collect()
}

fn hash_of(state: &State) -> [u8; 32] {
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_le_bytes();
    }
    hash
}

/// A stream whose bytes come in pieces and are not kept.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    state: State,
    /// What was given of a block that is not complete.
    begun: [u8; RATE],
    length: usize,
}

impl Default for Stream {
    fn default() -> Self {
        Stream {
            state: State::default(),
            begun: [0; RATE],
            length: 0,
        }
    }
}

impl Stream {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        if self.length > 0 {
            let (now, later) = bytes.split_at(bytes.len().min(RATE - self.length));
            self.begun[self.length..][..now.len()].copy_from_slice(now);
            self.length += now.len();
            if self.length < RATE {
                return;
            }
            absorb_alone(&mut self.state, &[self.begun]);
            bytes = later;
        }
        let (blocks, rest) = bytes.as_chunks();
        absorb_alone(&mut self.state, blocks);
        self.begun[..rest.len()].copy_from_slice(rest);
        self.length = rest.len();
    }

    /// The SHA3-256 of all bytes.
    pub(super) fn finish(mut self) -> [u8; 32] {
        self.begun[self.length..].fill(0);
        pad(&mut self.begun, self.length);
        absorb_alone(&mut self.state, &[self.begun]);
        hash_of(&self.state)
    }
}

/// Completes the last block of a stream, of which there are `length` bytes and zeros: the suffix `01` of SHA3 and the padding
/// `10*1`.
fn pad(block: &mut [u8; RATE], length: usize) {
    block[length] = 0x06;
    block[RATE - 1] |= 0x80;
}

/// How many streams this processor takes at once.
pub(super) fn side_by_side() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return 8;
        }
        if is_x86_feature_detected!("avx2") {
            return 4;
        }
    }
    1
}

/// Takes as many blocks of each of these streams, of which there are no more than go side by side.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "instructions that not every processor has")
)]
fn absorb_blocks(sponges: &mut [&mut Sponge], blocks: usize) {
    #[cfg(target_arch = "x86_64")]
    if sponges.len() > 1 {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F, as was just found.
            return together(sponges, blocks, |states, inputs| unsafe {
                x86::absorb_8(states, inputs)
            });
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as was just found.
            return together(sponges, blocks, |states, inputs| unsafe {
                x86::absorb_4(states, inputs)
            });
        }
    }
    for sponge in sponges {
        let mut state = sponge.state;
        absorb_alone(&mut state, sponge.input(blocks));
        sponge.state = state;
        sponge.absorbed += blocks * RATE;
    }
}

/// Takes blocks of one stream.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "instructions that not every processor has")
)]
fn absorb_alone(state: &mut State, input: &[[u8; RATE]]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
        // SAFETY: the processor has AVX-512F and AVX-512VL, as was just found.
        return unsafe { x86::absorb_1(state, input) };
    }
    absorb_1(state, input);
}

/// Hands states and blocks to what takes `N` of them; what there are too few of is made up.
#[cfg(target_arch = "x86_64")]
fn together<const N: usize>(
    sponges: &mut [&mut Sponge],
    blocks: usize,
    absorb: impl FnOnce(&mut [State; N], [&[[u8; RATE]]; N]),
) {
    let mut states = [State::default(); N];
    let mut inputs = [sponges[0].input(blocks); N];
    for ((state, input), sponge) in states.iter_mut().zip(&mut inputs).zip(sponges.iter()) {
        *state = sponge.state;
        *input = sponge.input(blocks);
    }
    absorb(&mut states, inputs);
    for (state, sponge) in states.into_iter().zip(sponges) {
        sponge.state = state;
        sponge.absorbed += blocks * RATE;
    }
}

const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// Keccak-f[1600] on a state of words of any width. `xor3` is `a ^ b ^ c`, `chi` is `a ^ (!b & c)`, `rol` turns each word to
/// the left. Written out, because indexed loops keep the state in memory and cost ten times as much.
macro_rules! permute {
    ($state:ident, $xor:expr, $xor3:expr, $chi:expr, $rol:ident, $constant:expr) => {
        for round_constant in ROUND_CONSTANTS {
            let [
                a0,
                a1,
                a2,
                a3,
                a4,
                a5,
                a6,
                a7,
                a8,
                a9,
                a10,
                a11,
                a12,
                a13,
                a14,
                a15,
                a16,
                a17,
                a18,
                a19,
                a20,
                a21,
                a22,
                a23,
                a24,
            ] = $state;
            // Theta: the parities of the columns, and the same turned by one.
            let c0 = $xor3($xor3(a0, a5, a10), a15, a20);
            let c1 = $xor3($xor3(a1, a6, a11), a16, a21);
            let c2 = $xor3($xor3(a2, a7, a12), a17, a22);
            let c3 = $xor3($xor3(a3, a8, a13), a18, a23);
            let c4 = $xor3($xor3(a4, a9, a14), a19, a24);
            let (r0, r1, r2, r3, r4) = ($rol!(c0, 1), $rol!(c1, 1), $rol!(c2, 1), $rol!(c3, 1), $rol!(c4, 1));
            // The rest of theta, rho and pi: each word turned, and in its new place.
            let b0 = $xor3(a0, c4, r1);
            let b1 = $rol!($xor3(a6, c0, r2), 44);
            let b2 = $rol!($xor3(a12, c1, r3), 43);
            let b3 = $rol!($xor3(a18, c2, r4), 21);
            let b4 = $rol!($xor3(a24, c3, r0), 14);
            let b5 = $rol!($xor3(a3, c2, r4), 28);
            let b6 = $rol!($xor3(a9, c3, r0), 20);
            let b7 = $rol!($xor3(a10, c4, r1), 3);
            let b8 = $rol!($xor3(a16, c0, r2), 45);
            let b9 = $rol!($xor3(a22, c1, r3), 61);
            let b10 = $rol!($xor3(a1, c0, r2), 1);
            let b11 = $rol!($xor3(a7, c1, r3), 6);
            let b12 = $rol!($xor3(a13, c2, r4), 25);
            let b13 = $rol!($xor3(a19, c3, r0), 8);
            let b14 = $rol!($xor3(a20, c4, r1), 18);
            let b15 = $rol!($xor3(a4, c3, r0), 27);
            let b16 = $rol!($xor3(a5, c4, r1), 36);
            let b17 = $rol!($xor3(a11, c0, r2), 10);
            let b18 = $rol!($xor3(a17, c1, r3), 15);
            let b19 = $rol!($xor3(a23, c2, r4), 56);
            let b20 = $rol!($xor3(a2, c1, r3), 62);
            let b21 = $rol!($xor3(a8, c2, r4), 55);
            let b22 = $rol!($xor3(a14, c3, r0), 39);
            let b23 = $rol!($xor3(a15, c4, r1), 41);
            let b24 = $rol!($xor3(a21, c0, r2), 2);
            // Chi and iota.
            $state = [
                $xor($chi(b0, b1, b2), $constant(round_constant)),
                $chi(b1, b2, b3),
                $chi(b2, b3, b4),
                $chi(b3, b4, b0),
                $chi(b4, b0, b1),
                $chi(b5, b6, b7),
                $chi(b6, b7, b8),
                $chi(b7, b8, b9),
                $chi(b8, b9, b5),
                $chi(b9, b5, b6),
                $chi(b10, b11, b12),
                $chi(b11, b12, b13),
                $chi(b12, b13, b14),
                $chi(b13, b14, b10),
                $chi(b14, b10, b11),
                $chi(b15, b16, b17),
                $chi(b16, b17, b18),
                $chi(b17, b18, b19),
                $chi(b18, b19, b15),
                $chi(b19, b15, b16),
                $chi(b20, b21, b22),
                $chi(b21, b22, b23),
                $chi(b22, b23, b24),
                $chi(b23, b24, b20),
                $chi(b24, b20, b21),
            ];
        }
    };
}

fn absorb_1(state: &mut State, input: &[[u8; RATE]]) {
    macro_rules! rol {
        ($word:expr, $by:literal) => {
            u64::rotate_left($word, $by)
        };
    }
    let mut s = *state;
    for block in input {
        for (word, bytes) in s.iter_mut().zip(block.as_chunks().0) {
            *word ^= u64::from_le_bytes(*bytes);
        }
        permute!(
            s,
            (|a: u64, b: u64| a ^ b),
            (|a: u64, b: u64, c: u64| a ^ b ^ c),
            (|a: u64, b: u64, c: u64| a ^ (!b & c)),
            rol,
            (|constant: u64| constant)
        );
    }
    *state = s;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{RATE, RATE_WORDS, ROUND_CONSTANTS, State};
    use std::arch::x86_64::*;

    /// One stream.
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn absorb_1(state: &mut State, input: &[[u8; RATE]]) {
        macro_rules! rol {
            ($words:expr, $by:literal) => {
                _mm_rol_epi64::<$by>($words)
            };
        }
        let mut s: [__m128i; 25] = std::array::from_fn(|at| _mm_cvtsi64_si128(state[at].cast_signed()));
        for block in input {
            for (at, state) in s.iter_mut().enumerate().take(RATE_WORDS) {
                *state = _mm_xor_si128(*state, _mm_cvtsi64_si128(word(block, at).cast_signed()));
            }
            permute!(
                s,
                (|a, b| _mm_xor_si128(a, b)),
                (|a, b, c| _mm_ternarylogic_epi64::<0b1001_0110>(a, b, c)),
                (|a, b, c| _mm_ternarylogic_epi64::<0b1101_0010>(a, b, c)),
                rol,
                (|constant: u64| _mm_set1_epi64x(constant.cast_signed()))
            );
        }
        for (at, words) in s.into_iter().enumerate() {
            state[at] = _mm_cvtsi128_si64(words).cast_unsigned();
        }
    }

    /// Eight streams of as many blocks.
    #[target_feature(enable = "avx512f")]
    pub(super) fn absorb_8(states: &mut [State; 8], inputs: [&[[u8; RATE]]; 8]) {
        macro_rules! rol {
            ($words:expr, $by:literal) => {
                _mm512_rol_epi64::<$by>($words)
            };
        }
        let gather = |word: &dyn Fn(usize) -> u64| {
            let [a, b, c, d, e, f, g, h] = std::array::from_fn(|lane| word(lane).cast_signed());
            _mm512_set_epi64(h, g, f, e, d, c, b, a)
        };
        let mut s: [__m512i; 25] = std::array::from_fn(|at| gather(&|lane| states[lane][at]));
        for block in 0..inputs[0].len() {
            let blocks = inputs.map(|input| &input[block]);
            for (at, state) in s.iter_mut().enumerate().take(RATE_WORDS) {
                *state = _mm512_xor_si512(*state, gather(&|lane| word(blocks[lane], at)));
            }
            permute!(
                s,
                (|a, b| _mm512_xor_si512(a, b)),
                (|a, b, c| _mm512_ternarylogic_epi64::<0b1001_0110>(a, b, c)),
                (|a, b, c| _mm512_ternarylogic_epi64::<0b1101_0010>(a, b, c)),
                rol,
                (|constant: u64| _mm512_set1_epi64(constant.cast_signed()))
            );
        }
        for (at, words) in s.into_iter().enumerate() {
            let halves = [_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64::<1>(words)];
            for (state, word) in states.iter_mut().zip(halves.map(|half| scatter(half)).as_flattened()) {
                state[at] = *word;
            }
        }
    }

    /// Four streams of as many blocks.
    #[target_feature(enable = "avx2")]
    pub(super) fn absorb_4(states: &mut [State; 4], inputs: [&[[u8; RATE]]; 4]) {
        macro_rules! rol {
            ($words:expr, $by:literal) => {{
                let words = $words;
                _mm256_or_si256(
                    _mm256_slli_epi64::<$by>(words),
                    _mm256_srli_epi64::<{ 64 - $by }>(words),
                )
            }};
        }
        let gather = |word: &dyn Fn(usize) -> u64| {
            let [a, b, c, d] = std::array::from_fn(|lane| word(lane).cast_signed());
            _mm256_set_epi64x(d, c, b, a)
        };
        let mut s: [__m256i; 25] = std::array::from_fn(|at| gather(&|lane| states[lane][at]));
        for block in 0..inputs[0].len() {
            let blocks = inputs.map(|input| &input[block]);
            for (at, state) in s.iter_mut().enumerate().take(RATE_WORDS) {
                *state = _mm256_xor_si256(*state, gather(&|lane| word(blocks[lane], at)));
            }
            permute!(
                s,
                (|a, b| _mm256_xor_si256(a, b)),
                (|a, b, c| _mm256_xor_si256(_mm256_xor_si256(a, b), c)),
                (|a, b, c| _mm256_xor_si256(a, _mm256_andnot_si256(b, c))),
                rol,
                (|constant: u64| _mm256_set1_epi64x(constant.cast_signed()))
            );
        }
        for (at, words) in s.into_iter().enumerate() {
            for (state, word) in states.iter_mut().zip(scatter(words)) {
                state[at] = word;
            }
        }
    }

    fn word(block: &[u8; RATE], at: usize) -> u64 {
        u64::from_le_bytes(block.as_chunks().0[at])
    }

    #[target_feature(enable = "avx2")]
    fn scatter(words: __m256i) -> [u64; 4] {
        [
            _mm256_extract_epi64::<0>(words),
            _mm256_extract_epi64::<1>(words),
            _mm256_extract_epi64::<2>(words),
            _mm256_extract_epi64::<3>(words),
        ]
        .map(i64::cast_unsigned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha3::{Digest as _, Sha3_256};

    /// Streams of these lengths, each of other bytes.
    fn streams(lengths: &[usize]) -> Vec<Vec<u8>> {
        let byte = |stream: usize, at: usize| (stream * 89 + at * 31 + (at >> 7)) as u8;
        let stream = |(stream, length): (usize, &usize)| (0..*length).map(|at| byte(stream, at)).collect();
        lengths.iter().enumerate().map(stream).collect()
    }

    /// The streams in steps of so many bytes.
    fn hash(streams: &[Vec<u8>], step: usize) -> Vec<[u8; 32]> {
        let mut sponges = vec![Sponge::default(); streams.len()];
        let longest = streams.iter().map(Vec::len).max().unwrap_or(0);
        for from in (0..longest).step_by(step) {
            for (sponge, stream) in sponges.iter_mut().zip(streams) {
                let part = from.min(stream.len())..(from + step).min(stream.len());
                sponge.waiting().extend_from_slice(&stream[part]);
            }
            absorb(&mut sponges);
        }
        finish(sponges)
    }

    #[test]
    fn streams_side_by_side_have_the_hashes_that_each_has_alone() {
        let lengths: Vec<Vec<usize>> = vec![
            vec![0],
            vec![135, 136, 137, 271, 272, 273],
            vec![0, 1, 20_000],
            vec![5_000; 8],
            vec![
                100_000, 3, 40_000, 40_001, 39_999, 0, 136, 272, 70_000, 13, 90_000, 1, 1, 1, 1, 1, 1,
            ],
            (0..40).map(|at| at * 997).collect(),
        ];
        for lengths in lengths {
            let streams = streams(&lengths);
            let expected: Vec<[u8; 32]> = streams.iter().map(|stream| Sha3_256::digest(stream).into()).collect();
            for step in [7, 136, 1000, 65_536] {
                assert_eq!(hash(&streams, step), expected, "{lengths:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn a_stream_has_its_hash_however_it_is_cut() {
        for length in [0, 1, 135, 136, 137, 271, 272, 5_000] {
            let bytes = streams(&[length]).remove(0);
            let expected: [u8; 32] = Sha3_256::digest(&bytes).into();
            for step in [1, 7, 135, 136, 137, 1000, 65_536] {
                let mut stream = Stream::default();
                bytes.chunks(step).for_each(|part| stream.update(part));
                assert_eq!(stream.finish(), expected, "{length} in steps of {step}");
            }
        }
    }

    /// Every way of taking blocks that this machine has, whichever it would choose.
    #[test]
    #[expect(unsafe_code, reason = "instructions that not every processor has")]
    fn all_widths_agree() {
        let streams = streams(&[RATE * 33; 8]);
        let inputs: [&[[u8; RATE]]; 8] = std::array::from_fn(|at| streams[at].as_chunks().0);
        let mut alone = [State::default(); 8];
        for (state, input) in alone.iter_mut().zip(inputs) {
            absorb_1(state, input);
        }
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                let mut states = [State::default(); 4];
                let inputs = std::array::from_fn(|at| inputs[at]);
                // SAFETY: the processor has AVX2, as was just found.
                unsafe { x86::absorb_4(&mut states, inputs) };
                assert_eq!(states, alone[..4]);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                let mut states = [State::default(); 8];
                for (state, input) in states.iter_mut().zip(inputs) {
                    // SAFETY: the processor has AVX-512F and AVX-512VL, as was just found.
                    unsafe { x86::absorb_1(state, input) };
                }
                assert_eq!(states, alone);
            }
            if is_x86_feature_detected!("avx512f") {
                let mut states = [State::default(); 8];
                // SAFETY: the processor has AVX-512F, as was just found.
                unsafe { x86::absorb_8(&mut states, inputs) };
                assert_eq!(states, alone);
            }
        }
    }
}
