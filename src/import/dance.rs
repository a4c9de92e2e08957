//! Which tensors of a Dance Diffusion checkpoint are which of ours.

use std::collections::BTreeSet;

use super::source::TensorFile;
use crate::error::{Error, Result};
use crate::network::DanceConfig;

/// The network's first tensor, as its authors call it.
const FIRST: &str = "net.0.main.0.weight";
/// The same, as `diffusers` does.
const FIRST_BLOCK: &str = "down_blocks.0.resnets.0.conv_1.weight";
/// More levels than anybody's network has.
const DEEPEST: usize = 20;

/// A checkpoint's network: its sizes, and how its tensors are called.
#[derive(Debug)]
pub(super) struct Dance {
    names: Names,
    /// Sizes.
    pub config: DanceConfig,
    /// Of its sound.
    pub channels: usize,
}

/// How a file calls its tensors.
#[derive(Debug)]
enum Names {
    /// As the network's authors do, levels within levels, below a prefix.
    Nested(String),
    /// As `diffusers` does.
    Blocks,
}

/// A block, or the attention behind it.
#[derive(Debug, Clone, Copy)]
struct Part {
    up: bool,
    level: usize,
    block: usize,
    attention: bool,
}

/// Names of our tensors in other programs: ours, theirs, those of `diffusers`. Of several, ours is all of them.
const LAYERS: [(&str, &[&str], &[&str]); 8] = [
    ("conv1", &["main.0"], &["conv_1"]),
    ("norm1", &["main.1"], &["group_norm_1"]),
    ("conv2", &["main.3"], &["conv_2"]),
    ("norm2", &["main.4"], &["group_norm_2"]),
    ("shortcut", &["skip"], &["conv_skip"]),
    ("norm", &["norm"], &["group_norm"]),
    ("qkv", &["qkv_proj"], &["query", "key", "value"]),
    ("out", &["out_proj"], &["proj_attn"]),
];

impl Names {
    fn time(&self) -> String {
        match self {
            Self::Nested(prefix) => format!("{prefix}timestep_embed.weight"),
            Self::Blocks => "time_proj.weight".to_owned(),
        }
    }

    /// Whether a tensor of this name is within the network.
    fn hold(&self, name: &str) -> bool {
        match self {
            Self::Nested(prefix) => name
                .strip_prefix(&**prefix)
                .is_some_and(|name| name.starts_with("net.")),
            Self::Blocks => ["down_blocks.", "mid_block.", "up_blocks."]
                .iter()
                .any(|part| name.starts_with(part)),
        }
    }

    /// The names of one of our layers, in a network of `depth` levels.
    fn layers(&self, part: Part, layer: &str, depth: usize) -> Vec<String> {
        let (_, nested, blocks) = LAYERS
            .into_iter()
            .find(|(ours, ..)| *ours == layer)
            .expect("a layer of the network");
        let Part {
            up,
            level,
            block,
            attention,
        } = part;
        let (at, names) = match self {
            Self::Nested(prefix) if level == 0 => {
                let place = if up { 4 + block } else { block };
                (format!("{prefix}net.{place}."), nested)
            }
            Self::Nested(prefix) => {
                let place = 2 * block + if up { 8 } else { 1 } + usize::from(attention);
                let within = "7.main.".repeat(level - 1);
                (format!("{prefix}net.3.main.{within}{place}."), nested)
            }
            Self::Blocks => {
                let kind = if attention { "attentions" } else { "resnets" };
                let at = if level + 1 == depth {
                    format!("mid_block.{kind}.{}.", if up { 3 + block } else { block })
                } else if up {
                    format!("up_blocks.{}.{kind}.{block}.", depth - 2 - level)
                } else {
                    format!("down_blocks.{level}.{kind}.{block}.")
                };
                (at, blocks)
            }
        };
        names.iter().map(|name| format!("{at}{name}")).collect()
    }
}

impl Dance {
    /// Recognises the network by the names and shapes in a file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with what the file is instead, as far as its names say, or what is missing.
    pub fn of(source: &TensorFile) -> Result<Self> {
        let fail = |what: String| Error::checkpoint(&source.path, what);
        let prefixes = source.names().filter_map(|name| name.strip_suffix(FIRST));
        // Averaged weights before those of the last step.
        let first = prefixes.min_by_key(|prefix| (!prefix.contains("ema"), prefix.len()));
        let names = match first {
            Some(prefix) => Names::Nested(prefix.to_owned()),
            None if source.shape(FIRST_BLOCK).is_some() => Names::Blocks,
            None => return Err(fail(unsupported(source))),
        };
        let part = |up, level, block, attention| Part {
            up,
            level,
            block,
            attention,
        };
        let depth = (1..=DEEPEST).take_while(|&level| {
            // Any depth beyond: what counts is that the level is there on the way down.
            let mut first = names.layers(part(false, level, 0, false), "conv1", usize::MAX);
            source
                .shape(&format!("{}.weight", first.remove(0)))
                .is_some()
        });
        // In the lists of `diffusers` the lowest level is named apart.
        let depth = 1 + depth.count() + usize::from(matches!(names, Names::Blocks));
        let shape = |part: Part, layer: &str| {
            let name = format!("{}.weight", names.layers(part, layer, depth)[0]);
            match source.shape(&name) {
                Some(&[to, from, kernel]) => Ok([to, from, kernel]),
                Some(other) => Err(fail(format!(
                    "tensor `{name}`: expected a convolution, found the shape {other:?}"
                ))),
                None => Err(fail(format!("expected a tensor `{name}`, found none"))),
            }
        };
        let mut widths = Vec::new();
        let mut attention_from = depth;
        for level in 0..depth {
            let [width, ..] = shape(part(false, level, 0, false), "conv1")?;
            widths.push(width);
            let norm = &names.layers(part(false, level, 0, true), "norm", depth)[0];
            if level > 0 && source.shape(&format!("{norm}.weight")).is_some() {
                attention_from = attention_from.min(level);
            }
        }
        let [_, inputs, kernel] = shape(part(false, 0, 0, false), "conv1")?;
        let [channels, ..] = shape(part(true, 0, 2, false), "conv2")?;
        let time = names.time();
        let frequencies = match source.shape(&time) {
            Some(&[n] | &[n, 1]) => n,
            other => {
                return Err(fail(format!(
                    "expected a tensor `{time}` of frequencies, found {other:?}"
                )));
            }
        };
        if !(1..=2).contains(&channels) || inputs != channels + 2 * frequencies {
            return Err(fail(format!(
                "expected 1 or 2 channels, and {} inputs more that tell the noise level; found {channels} channels and \
                 {inputs} inputs",
                2 * frequencies
            )));
        }
        let config = DanceConfig {
            widths,
            attention_from,
            kernel,
            frequencies,
            ..DanceConfig::default()
        };
        Ok(Self {
            names,
            config,
            channels,
        })
    }

    /// Whose names and which weights these are, and the network's sizes, for people.
    pub fn described(&self, source: &TensorFile) -> Vec<(&'static str, String)> {
        let names = match &self.names {
            Names::Blocks => "diffusers",
            Names::Nested(prefix) if prefix.contains("model.") => "stable-audio-tools",
            Names::Nested(_) => "Dance Diffusion",
        };
        let weights = match &self.names {
            Names::Nested(prefix) if prefix.contains("ema") => "averaged (EMA)",
            _ => "the only ones there",
        };
        let rest = if source.with_optimizer {
            ", the optimizer's state passed over"
        } else {
            ""
        };
        let DanceConfig {
            widths,
            attention_from,
            ..
        } = &self.config;
        let depth = widths.len();
        let attention = match attention_from {
            from if *from == depth => "none".to_owned(),
            from => format!("in the lowest {}", depth - from),
        };
        let (narrow, wide) = (widths.iter().min(), widths.iter().max());
        vec![
            ("file", format!("{}, names of {names}", source.container)),
            ("weights", format!("{weights}{rest}")),
            (
                "network",
                format!(
                    "Dance Diffusion, {depth} levels of {} to {} channels, attention: {attention}",
                    narrow.unwrap_or(&0),
                    wide.unwrap_or(&0)
                ),
            ),
        ]
    }

    /// Fails unless our tensors, names with shapes, can be made of what is there, and nothing of the network is left
    /// over: its variants (learnt resampling, other activations) have tensors that this network has no place for.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with the tensor, the shape expected and the one found.
    pub fn check(&self, source: &TensorFile, shapes: &[(String, Vec<usize>)]) -> Result<()> {
        // Vectors may be written as matrices of one column, and the other way round.
        let plain =
            |shape: &[usize]| -> Vec<usize> { shape.iter().copied().filter(|&n| n != 1).collect() };
        let mut known = BTreeSet::new();
        for (ours, shape) in shapes {
            for (name, expected) in self.recipe(ours, shape).reads {
                let found = source.shape(&name);
                if found.is_none_or(|found| plain(found) != plain(&expected)) {
                    let found =
                        found.map_or("none".to_owned(), |found| format!("one of {found:?}"));
                    return Err(Error::checkpoint(
                        &source.path,
                        format!("expected a tensor `{name}` of shape {expected:?}, found {found}"),
                    ));
                }
                known.insert(name);
            }
        }
        let stray = |name: &&str| {
            let is_filter = name.ends_with(".kernel"); // the cubic one, which is always the same
            self.names.hold(name) && !is_filter && !known.contains(*name)
        };
        match source.names().find(stray) {
            Some(name) => Err(Error::checkpoint(
                &source.path,
                format!(
                    "a variant of Dance Diffusion's network that is not known: expected no tensor `{name}`"
                ),
            )),
            None => Ok(()),
        }
    }

    /// The numbers of our tensor `name`.
    ///
    /// # Errors
    /// As [`TensorFile::read`].
    pub fn read(&self, source: &TensorFile, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let recipe = self.recipe(name, shape);
        let mut values = Vec::new();
        for (name, _) in &recipe.reads {
            values.append(&mut source.read(name)?);
        }
        Ok(match recipe.make {
            Make::Same => values,
            Make::Turned => {
                turn(&mut values, 1);
                values
            }
            Make::Matrix(matrix) => matrix.of(&values),
        })
    }

    /// How our tensor `name` is made.
    fn recipe(&self, name: &str, shape: &[usize]) -> Conversion {
        if name == "time" {
            return Conversion {
                reads: vec![(self.names.time(), shape.to_vec())],
                make: Make::Same,
            };
        }
        let (part, layer, which) = parsed(name).expect("a name that the network asks for");
        let layers = self.names.layers(part, layer, self.config.widths.len());
        // Stereo is mid and side for us: both ends of the network turn by an eighth of a circle.
        let stereo = self.channels == 2 && part.level == 0;
        let enters = stereo && !part.up && part.block == 0 && matches!(layer, "conv1" | "shortcut");
        let leaves = stereo && part.up && part.block == 2 && matches!(layer, "conv2" | "shortcut");
        match which {
            "affine" => {
                let both = ["weight", "bias"].map(|which| format!("{}.{which}", layers[0]));
                let reads = both.into_iter().map(|name| (name, vec![shape[1]]));
                Conversion {
                    reads: reads.collect(),
                    make: Make::Same,
                }
            }
            "bias" => {
                let each = vec![shape[0] / layers.len()];
                let reads = layers
                    .iter()
                    .map(|layer| (format!("{layer}.bias"), each.clone()));
                Conversion {
                    reads: reads.collect(),
                    make: if leaves { Make::Turned } else { Make::Same },
                }
            }
            source => {
                let kernel = match layer {
                    "conv1" | "conv2" => self.config.kernel,
                    _ => 1,
                };
                let from = shape[0] / kernel;
                // Of a block that reads two maps side by side, half of the inputs belong to each.
                let (inputs, first) = match source {
                    "deep" => (2 * from, 0),
                    "across" => (2 * from, from),
                    _ => (from, 0),
                };
                let each = vec![shape[1] / layers.len(), inputs, kernel];
                let reads = layers
                    .iter()
                    .map(|layer| (format!("{layer}.weight"), each.clone()));
                Conversion {
                    reads: reads.collect(),
                    make: Make::Matrix(Matrix {
                        to: shape[1],
                        from,
                        inputs,
                        first,
                        kernel,
                        enters,
                        leaves,
                    }),
                }
            }
        }
    }
}

/// How one of our tensors is made.
struct Conversion {
    /// Names and shapes of what is read, one behind the other.
    reads: Vec<(String, Vec<usize>)>,
    make: Make,
}

enum Make {
    /// As it lies.
    Same,
    /// Left and right to mid and side.
    Turned,
    Matrix(Matrix),
}

/// A convolution's weights, `[to, inputs, kernel]`, of which `from` inputs from `first` on are wanted as
/// `[kernel·from, to]`.
struct Matrix {
    to: usize,
    from: usize,
    inputs: usize,
    first: usize,
    kernel: usize,
    enters: bool,
    leaves: bool,
}

impl Matrix {
    fn of(&self, values: &[f32]) -> Vec<f32> {
        let (to, kernel) = (self.to, self.kernel);
        let mut made = vec![0.0; kernel * self.from * to];
        for (o, row) in values.chunks_exact(self.inputs * kernel).enumerate() {
            let taps = row[self.first * kernel..].chunks_exact(kernel);
            for (i, taps) in taps.take(self.from).enumerate() {
                for (k, &tap) in taps.iter().enumerate() {
                    made[(k * self.from + i) * to + o] = tap;
                }
            }
        }
        if self.enters {
            for tap in made.chunks_exact_mut(self.from * to) {
                turn(&mut tap[..2 * to], to);
            }
        }
        if self.leaves {
            made.chunks_exact_mut(2).for_each(|pair| turn(pair, 1));
        }
        made
    }
}

/// Left and right, each `width` values, to mid and side: `(l + r)/√2`, `(l - r)/√2`.
fn turn(values: &mut [f32], width: usize) {
    let (left, right) = values.split_at_mut(width);
    for (l, r) in left.iter_mut().zip(right) {
        let (mid, side) = (*l + *r, *l - *r);
        *l = mid * std::f32::consts::FRAC_1_SQRT_2;
        *r = side * std::f32::consts::FRAC_1_SQRT_2;
    }
}

/// One of our names: where it is, its layer, and which of that layer's tensors.
fn parsed(name: &str) -> Option<(Part, &str, &str)> {
    let mut parts = name.split('.');
    let up = match parts.next()? {
        "up" => true,
        "down" => false,
        _ => return None,
    };
    let (level, block) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let attention = parts.next()? == "attention";
    let part = Part {
        up,
        level,
        block,
        attention,
    };
    Some((part, parts.next()?, parts.next()?))
}

/// The sentence for a file that holds another network.
fn unsupported(source: &TensorFile) -> String {
    let has = |part: &str| source.names().any(|name| name.contains(part));
    let count = source.names().count();
    let what = if has("cond_stage_model.") || has("model.diffusion_model.") {
        "a Stable Diffusion checkpoint, which makes images"
    } else if has("conditioner.") && has("transformer.") {
        "a Stable Audio checkpoint, which follows text"
    } else if has("down_blocks.") && has("conv_in.") {
        "a diffusers network for images"
    } else if has("to_time.") || has("model.net.") || has("unet.") {
        "a network of another kind (audio-diffusion-pytorch?)"
    } else if has("lora_") {
        "a LoRA, which is nothing without its model"
    } else if count == 0 {
        return "expected a Dance Diffusion checkpoint, found a file without tensors".to_owned();
    } else {
        "a network that is not known"
    };
    let first = source.names().next().unwrap_or_default();
    format!(
        "{what}: expected Dance Diffusion's tensors (`…{FIRST}` or `{FIRST_BLOCK}`), found {count} such as `{first}`"
    )
}
