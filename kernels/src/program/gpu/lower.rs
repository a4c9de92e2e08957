//! A program and its plan as commands.

use candle_core::{Result, bail};

use super::super::plan::{Backward, Gradient, Kind, Plan, ValueSlot};
use super::super::{Conv, Indices, Map, Norm, Op, Parameter, Program};
use super::commands::{
    Argument, Buffer, Cell, Command, Commands, Element, Launch, Matrix, Place, Product,
};
use crate::activation::Activation;
use crate::compute_type::ComputeType;
use crate::norm::EPSILON;
use crate::resample::{DOWN, Direction, UP};

/// Places in the arena are multiples of this many bytes.
const ALIGNMENT: usize = 256;
/// Threads of a block that works on values one by one; a power of two.
pub(super) const BLOCK: usize = 256;
/// Threads of a block with a thread for each channel.
const CHANNELS: usize = 128;
/// Queries that a block of attention takes, its threads, and the widest head it can hold.
const TILE: usize = 16;
const THREADS: usize = 128;
const WIDEST: usize = 128;
/// Values of a group that one block takes the moments of.
const MOMENTS: usize = 1 << 13;
/// Frames that one thread sums over on the way back through a norm.
const FRAMES: usize = 64;
/// Rows that one thread sums over for a bias.
const ROWS: usize = 256;
/// Values that a block does in a kernel over many tensors.
pub(super) const PIECE: usize = 4096;
/// The most values of one launch.
const MOST: usize = 1 << 31;

/// The commands for runs of this kind.
///
/// # Errors
/// When a map is too large, or a head of attention too wide.
pub(super) fn lower(program: &Program, kind: &Kind) -> Result<Commands> {
    let plan = Plan::new(program, kind);
    let mut lowering = Lowering::new(program, &plan);
    lowering.check()?;
    lowering.cast_parameters();
    for (i, op) in program.ops.iter().enumerate() {
        lowering.forward(i, op);
    }
    lowering.cast(
        lowering.read(program.output),
        lowering.element(program.output),
        Place::of(Buffer::Output),
        Element::F32,
        program.output.len(),
    );
    lowering.commands.forward = std::mem::take(&mut lowering.list);
    if let Some(seed) = plan.seed {
        let (element, len) = (lowering.element(program.output), program.output.len());
        let to = lowering.slots[seed];
        lowering.cast(Place::of(Buffer::Seed), Element::F32, to, element, len);
    }
    for step in &plan.backward {
        lowering.backward(step);
    }
    for (i, (&slot, &input)) in plan.input_gradients.iter().zip(&program.inputs).enumerate() {
        lowering.commands.input_gradients.push(slot.is_some());
        if let Some(slot) = slot {
            let (from, element) = (lowering.slots[slot], lowering.element(input));
            let to = Place::of(Buffer::InputGradient(i));
            lowering.cast(from, element, to, Element::F32, input.len());
        }
    }
    lowering.commands.backward = std::mem::take(&mut lowering.list);
    lowering.commands.arena = lowering.scratch_start + lowering.scratch_most;
    Ok(lowering.commands)
}

struct Lowering<'a> {
    program: &'a Program,
    plan: &'a Plan,
    /// The type of each value.
    elements: Vec<Element>,
    /// The place of each slot.
    slots: Vec<Place>,
    /// Where the arena holds each input, if not as it came.
    inputs: Vec<Option<Place>>,
    /// The bf16 copy of each parameter that has one.
    copies: Vec<Option<Place>>,
    /// Where temporaries of a single op begin, the bytes that the present op has of them, and the most of any.
    scratch_start: usize,
    scratch_used: usize,
    scratch_most: usize,
    list: Vec<Command>,
    commands: Commands,
    /// Parameters whose gradient has a contribution.
    seen: Vec<bool>,
}

impl<'a> Lowering<'a> {
    fn new(program: &'a Program, plan: &'a Plan) -> Self {
        let elements = elements(program);
        let mut end = 0;
        let mut place = |bytes: usize| {
            let byte = end;
            end += bytes.next_multiple_of(ALIGNMENT);
            Place {
                buffer: Buffer::Arena,
                byte,
            }
        };
        let slots = slot_bytes(program, plan, &elements);
        let slots = slots.into_iter().map(&mut place).collect();
        let input = |map: &Map| {
            let element = elements[map.value];
            (element == Element::Bf16).then(|| place(map.len() * element.size()))
        };
        let inputs = program.inputs.iter().map(input).collect();
        let mut copies = vec![None; program.parameters.len()];
        for op in &program.ops {
            let Op::Conv(conv) = op else { continue };
            if elements[conv.y.value] == Element::Bf16 {
                for parameter in [Some(conv.weight), conv.bias].into_iter().flatten() {
                    let len = program.parameters[parameter.0].iter().product::<usize>();
                    copies[parameter.0].get_or_insert_with(|| place(2 * len));
                }
            }
        }
        // Gradients of parameters, each aligned.
        let (mut gradients, mut parameter_gradients) = (0, vec![None; program.parameters.len()]);
        for step in &plan.backward {
            for parameter in parameters(&program.ops[step.op]) {
                let len: usize = program.parameters[parameter.0].iter().product();
                parameter_gradients[parameter.0].get_or_insert_with(|| {
                    let start = gradients;
                    gradients += len.next_multiple_of(ALIGNMENT / 4);
                    start
                });
            }
        }
        Self {
            program,
            plan,
            slots,
            inputs,
            copies,
            elements,
            scratch_start: end,
            scratch_used: 0,
            scratch_most: 0,
            list: Vec::new(),
            commands: Commands {
                gradients,
                parameter_gradients,
                ..Commands::default()
            },
            seen: vec![false; program.parameters.len()],
        }
    }

    fn check(&self) -> Result<()> {
        for op in &self.program.ops {
            let mut largest = op.y().len();
            if let Op::Conv(conv) = op {
                let s = conv.shape();
                largest = largest.max(s.b * s.t * s.kernel * s.ci);
            }
            if largest > MOST {
                bail!("a GPU's map: expected at most {MOST} values, found {largest}");
            }
            if let Op::Attention { y, heads, .. } = *op
                && y.c / heads > WIDEST
            {
                let depth = y.c / heads;
                bail!(
                    "attention on a GPU: expected at most {WIDEST} channels a head, found {depth}"
                );
            }
        }
        Ok(())
    }

    fn element(&self, map: Map) -> Element {
        self.elements[map.value]
    }

    /// The place of a map.
    fn read(&self, map: Map) -> Place {
        match self.plan.values[map.value] {
            ValueSlot::Slot(slot) => self.slots[slot],
            ValueSlot::Input(i) => self.inputs[i].unwrap_or(Place::of(Buffer::Input(i))),
        }
    }

    /// The place of a parameter's numbers in this type.
    fn parameter(&self, parameter: Parameter, element: Element) -> Place {
        match element {
            Element::F32 => Place::of(Buffer::Parameter(parameter.0)),
            Element::Bf16 => self.copies[parameter.0].expect("copied for this convolution"),
        }
    }

    /// The place of a parameter's gradient, and whether to add to it.
    fn gradient(&mut self, parameter: Parameter) -> (Place, bool) {
        let start = self.commands.parameter_gradients[parameter.0];
        let place = Place {
            buffer: Buffer::Gradients,
            byte: 4 * start.expect("reserved for this op"),
        };
        (place, std::mem::replace(&mut self.seen[parameter.0], true))
    }

    /// Memory for the present op alone.
    fn scratch(&mut self, bytes: usize) -> Place {
        let byte = self.scratch_start + self.scratch_used;
        self.scratch_used += bytes.next_multiple_of(ALIGNMENT);
        self.scratch_most = self.scratch_most.max(self.scratch_used);
        Place {
            buffer: Buffer::Arena,
            byte,
        }
    }

    fn launch(&mut self, kernel: String, grid: [usize; 3], block: usize, arguments: &[Argument]) {
        self.list.push(Command::Launch(Launch {
            kernel,
            grid,
            block,
            arguments: arguments.to_vec(),
        }));
    }

    /// A kernel with a thread for each of `n` values.
    fn each(&mut self, kernel: &str, element: Element, n: usize, arguments: &[Argument]) {
        let name = format!("{kernel}_{}", element.name());
        self.launch(name, [n.div_ceil(BLOCK), 1, 1], BLOCK, arguments);
    }

    fn cast(&mut self, from: Place, of: Element, to: Place, into: Element, n: usize) {
        let kernel = format!("cast_{}", of.name());
        self.each(&kernel, into, n, &[from.into(), n.into(), to.into()]);
    }

    /// The bf16 copies of inputs and parameters.
    fn cast_parameters(&mut self) {
        for (i, map) in self.program.inputs.iter().enumerate() {
            if let Some(to) = self.inputs[i] {
                let from = Place::of(Buffer::Input(i));
                self.cast(from, Element::F32, to, Element::Bf16, map.len());
            }
        }
        let (mut cells, mut rows, mut longest) = (Vec::new(), 0, 0);
        for (i, copy) in self.copies.iter().enumerate() {
            let Some(copy) = *copy else { continue };
            let len = self.program.parameters[i].iter().product();
            let from = Place::of(Buffer::Parameter(i));
            cells.extend([Cell::Place(from), Cell::Place(copy), Cell::Number(len)]);
            (rows, longest) = (rows + 1, longest.max(len));
        }
        if rows > 0 {
            let table = Place::of(Buffer::Table(self.commands.tables.len()));
            self.commands.tables.push(cells);
            let grid = [longest.div_ceil(PIECE), rows, 1];
            self.launch("cast_many".to_owned(), grid, BLOCK, &[table.into()]);
        }
    }

    fn forward(&mut self, i: usize, op: &Op) {
        self.scratch_used = 0;
        match *op {
            Op::Conv(ref conv) => self.conv(i, conv),
            Op::Normed {
                x,
                ref norm,
                residual,
                y,
            } => {
                let coefficients = self.coefficients(i, x, norm);
                let (b, t, c) = x.dims();
                let arguments = [
                    self.read(x).into(),
                    coefficients.into(),
                    activation(norm.activation),
                    residual.map(|residual| self.read(residual)).into(),
                    b.into(),
                    t.into(),
                    c.into(),
                    self.read(y).into(),
                ];
                self.each("normed", self.element(y), y.len(), &arguments);
            }
            Op::Attention { qkv, heads, y } => {
                let (b, t, c) = y.dims();
                let depth = c / heads;
                let arguments = [
                    self.read(qkv).into(),
                    t.into(),
                    c.into(),
                    depth.into(),
                    scale(depth),
                    self.read(y).into(),
                ];
                let kernel = format!("attention_{}", self.element(y).name());
                self.launch(kernel, [t.div_ceil(TILE), heads, b], THREADS, &arguments);
            }
            Op::Resample { x, direction, y } => {
                let mut arguments = vec![self.read(x).into()];
                arguments.extend(self.filter(x, direction, y));
                arguments.push(self.read(y).into());
                self.each("resample", self.element(y), y.len(), &arguments);
            }
            Op::Silu { x, y } => {
                let n = y.len();
                let arguments = [self.read(x).into(), n.into(), self.read(y).into()];
                self.each("silu", self.element(y), n, &arguments);
            }
            Op::Lookup {
                table,
                rows,
                residual,
                y,
            } => {
                let arguments = [
                    self.parameter(table, Element::F32).into(),
                    Place::of(Buffer::Rows(rows.index)).into(),
                    self.read(residual).into(),
                    self.program.parameters[table.0][0].into(),
                    y.b.into(),
                    y.c.into(),
                    self.read(y).into(),
                ];
                let grid = [y.len().div_ceil(BLOCK), 1, 1];
                self.launch("lookup".to_owned(), grid, BLOCK, &arguments);
            }
            Op::AddScaled { a, b, scale, y } => {
                let n = y.len();
                let arguments = [
                    self.read(a).into(),
                    self.read(b).into(),
                    (scale as f32).into(),
                    n.into(),
                    self.read(y).into(),
                ];
                self.each("add_scaled", self.element(y), n, &arguments);
            }
        }
    }

    /// `B, T, C, output frames, phases, taps of a phase, padding`, after the taps themselves.
    fn filter(&mut self, x: Map, direction: Direction, y: Map) -> [Argument; 8] {
        let (phases, taps) = match direction {
            Direction::Down => (1, DOWN.to_vec()),
            Direction::Up => (2, UP.concat()),
        };
        let constants = &mut self.commands.constants;
        let (byte, n) = (4 * constants.len(), taps.len() / phases);
        constants.extend(taps.iter().map(|&tap| tap as f32));
        let taps = Place {
            buffer: Buffer::Constants,
            byte,
        };
        [
            taps.into(),
            x.b.into(),
            x.t.into(),
            x.c.into(),
            y.t.into(),
            phases.into(),
            n.into(),
            direction.pad().into(),
        ]
    }

    /// Computes the coefficients of op `i`'s norm of `x`.
    fn coefficients(&mut self, i: usize, x: Map, norm: &Norm) -> Place {
        let (b, t, c) = x.dims();
        let each = c / norm.groups;
        let frames = (MOMENTS / each).clamp(1, t);
        let parts = t.div_ceil(frames);
        let partial = self.scratch(4 * 2 * b * norm.groups * parts);
        let kernel = format!("moments_{}", self.element(x).name());
        let arguments = [
            self.read(x).into(),
            t.into(),
            c.into(),
            norm.groups.into(),
            frames.into(),
            partial.into(),
        ];
        self.launch(kernel, [parts, norm.groups, b], BLOCK, &arguments);
        let to = self.known_coefficients(i);
        let arguments = [
            partial.into(),
            self.parameter(norm.affine, Element::F32).into(),
            norm.film.map(|film| self.read(film)).into(),
            t.into(),
            c.into(),
            norm.groups.into(),
            parts.into(),
            frames.into(),
            (EPSILON as f32).into(),
            to.into(),
        ];
        self.launch(
            "coefficients".to_owned(),
            [norm.groups, b, 1],
            CHANNELS,
            &arguments,
        );
        to
    }

    /// The coefficients of op `i`'s norm, which were computed.
    fn known_coefficients(&self, i: usize) -> Place {
        self.slots[self.plan.coefficients[i].expect("a norm has coefficients")]
    }

    /// The rows that a convolution multiplies, `[B·T, K·Ci]`: its input itself, or columns in scratch memory.
    fn columns(&mut self, conv: &Conv, coefficients: Option<Place>) -> Place {
        let (s, element) = (conv.shape(), self.element(conv.x));
        if s.kernel == 1 && coefficients.is_none() {
            return self.read(conv.x);
        }
        let len = s.b * s.t * s.kernel * s.ci;
        let to = self.scratch(len * element.size());
        let (kernel, each) = if s.ci.is_multiple_of(4) {
            ("columns4", 4)
        } else {
            ("columns", 1)
        };
        let arguments = [
            self.read(conv.x).into(),
            coefficients.into(),
            activation(conv.norm.map_or(Activation::None, |norm| norm.activation)),
            s.b.into(),
            s.t.into(),
            s.ci.into(),
            s.kernel.into(),
            to.into(),
        ];
        self.each(kernel, element, len / each, &arguments);
        to
    }

    fn conv(&mut self, i: usize, conv: &Conv) {
        let (s, element) = (conv.shape(), self.element(conv.y));
        let norm = conv.norm.as_ref();
        let coefficients = norm.map(|norm| self.coefficients(i, conv.x, norm));
        let rows = self.columns(conv, coefficients);
        let y = self.read(conv.y);
        let c = conv.residual.map(|residual| {
            if residual.b == conv.y.b {
                return self.read(residual);
            }
            let n = residual.len();
            let arguments = [self.read(residual).into(), s.b.into(), n.into(), y.into()];
            self.each("repeat", element, n, &arguments);
            y
        });
        let product = Product {
            m: s.b * s.t,
            n: s.co,
            k: s.kernel * s.ci,
            a: plain(rows),
            b: plain(self.parameter(conv.weight, element)),
            bias: conv.bias.map(|bias| self.parameter(bias, element)),
            c,
            d: y,
            element,
            out: element,
        };
        self.list.push(Command::Product(product));
    }

    fn backward(&mut self, step: &Backward) {
        self.scratch_used = 0;
        let program = self.program;
        let op = &program.ops[step.op];
        let ([of_x, _, of_residual], dy) = (step.gradients, self.slots[step.dy]);
        match (op, of_x) {
            (Op::Conv(conv), _) => self.conv_back(step, conv),
            (Op::Normed { x, norm, .. }, _) => self.norm_back(step, *x, norm, dy, 1),
            (&Op::Lookup { table, rows, y, .. }, _) => self.lookup_back(dy, table, rows, y),
            (&Op::Resample { x, direction, y }, Some(of)) => {
                let (to, add) = self.target(of);
                let mut arguments = vec![dy.into()];
                arguments.extend(self.filter(x, direction, y));
                arguments.extend::<[Argument; 2]>([add.into(), to.into()]);
                self.each("resample_back", self.element(x), x.len(), &arguments);
                self.arrive(of, x);
            }
            (&Op::Attention { qkv, heads, y }, Some(of)) => {
                self.attention_back(dy, of, qkv, heads, y)
            }
            (&Op::Silu { x, .. }, Some(of)) => {
                let (to, add) = self.target(of);
                let n = x.len();
                let x_place = self.read(x);
                let arguments = [x_place.into(), dy.into(), add.into(), n.into(), to.into()];
                self.each("silu_back", self.element(x), n, &arguments);
                self.arrive(of, x);
            }
            (&Op::AddScaled { b, scale, y, .. }, Some(of)) => {
                self.pass_back(step.dy, y, of, b, scale)
            }
            (_, None) => {}
        }
        if let ([_, _, Some(residual)], Some(of)) = (op.reads(), of_residual) {
            self.pass_back(step.dy, op.y(), of, residual, op.scale());
        }
    }

    /// Where a kernel writes its contribution to a gradient, and whether it adds.
    fn target(&self, of: Gradient) -> (Place, bool) {
        match of.via {
            Some(via) => (self.slots[via], false),
            None => (self.slots[of.slot], of.add),
        }
    }

    /// Adds a contribution that was written to `of.via`.
    fn arrive(&mut self, of: Gradient, map: Map) {
        if let Some(via) = of.via {
            let (from, to, n) = (self.slots[via], self.slots[of.slot], map.len());
            self.sum(self.element(map), (from, 1), 1.0, (to, true), n);
        }
    }

    /// `to = Σ from·scale` over `clips` maps of `n` values, or that added to `to`.
    fn sum(
        &mut self,
        element: Element,
        (from, clips): (Place, usize),
        scale: f64,
        (to, add): (Place, bool),
        n: usize,
    ) {
        let arguments = [
            from.into(),
            (scale as f32).into(),
            clips.into(),
            add.into(),
            n.into(),
            to.into(),
        ];
        self.each("pass_back", element, n, &arguments);
    }

    fn pass_back(&mut self, dy: usize, y: Map, of: Gradient, to: Map, scale: f64) {
        if of.slot == dy && scale == 1.0 {
            return;
        }
        let add = of.add && of.slot != dy;
        let clips = y.len() / to.len();
        let (from, slot) = (self.slots[dy], self.slots[of.slot]);
        self.sum(
            self.element(to),
            (from, clips),
            scale,
            (slot, add),
            to.len(),
        );
    }

    fn conv_back(&mut self, step: &Backward, conv: &Conv) {
        let (s, element) = (conv.shape(), self.element(conv.y));
        let (rows, depth) = (s.b * s.t, s.kernel * s.ci);
        let dy = self.slots[step.dy];
        let known = conv.norm.map(|_| self.known_coefficients(step.op));
        let columns = self.columns(conv, known);

        let (dw, add) = self.gradient(conv.weight);
        self.list.push(Command::Product(Product {
            m: depth,
            n: s.co,
            k: rows,
            a: Matrix {
                place: columns,
                transposed: true,
            },
            b: plain(dy),
            bias: None,
            c: add.then_some(dw),
            d: dw,
            element,
            out: Element::F32,
        }));
        if let Some(bias) = conv.bias {
            let parts = rows.div_ceil(ROWS);
            let partial = self.scratch(4 * parts * s.co);
            let grid = [s.co.div_ceil(CHANNELS), parts, 1];
            let arguments = [
                dy.into(),
                rows.into(),
                s.co.into(),
                ROWS.into(),
                partial.into(),
            ];
            let kernel = format!("row_sums_{}", element.name());
            self.launch(kernel, grid, CHANNELS, &arguments);
            let to = self.gradient(bias);
            self.sum(Element::F32, (partial, parts), 1.0, to, s.co);
        }

        let [of_x, ..] = step.gradients;
        // The gradient of the columns.
        let product = |d: Place, add: bool, weight: Place| {
            Command::Product(Product {
                m: rows,
                n: depth,
                k: s.co,
                a: plain(dy),
                b: Matrix {
                    place: weight,
                    transposed: true,
                },
                bias: None,
                c: add.then_some(d),
                d,
                element,
                out: element,
            })
        };
        let weight = self.parameter(conv.weight, element);
        match (&conv.norm, of_x) {
            (None, None) => {}
            (None, Some(of)) if s.kernel == 1 => {
                let (to, add) = self.target(of);
                self.list.push(product(to, add, weight));
                self.arrive(of, conv.x);
            }
            (None, Some(of)) => {
                let dcolumns = self.scratch(rows * depth * element.size());
                self.list.push(product(dcolumns, false, weight));
                let (to, add) = self.target(of);
                let arguments = [
                    dcolumns.into(),
                    s.b.into(),
                    s.t.into(),
                    s.ci.into(),
                    s.kernel.into(),
                    add.into(),
                    to.into(),
                ];
                self.each("fold", element, conv.x.len(), &arguments);
                self.arrive(of, conv.x);
            }
            (Some(norm), _) => {
                // The columns were multiplied already; their gradient takes their place.
                self.list.push(product(columns, false, weight));
                self.norm_back(step, conv.x, norm, columns, s.kernel);
            }
        }
    }

    /// All contributions of a norm of `x`, given the gradient of `kernel` columns of its output.
    fn norm_back(&mut self, step: &Backward, x: Map, norm: &Norm, dcolumns: Place, kernel: usize) {
        let ((b, t, c), element) = (x.dims(), self.element(x));
        let coefficients = self.known_coefficients(step.op);
        let dz = self.slots[step.dh.expect("a norm has a place for this")];
        let parts = t.div_ceil(FRAMES);
        let partial = self.scratch(4 * b * parts * 2 * c);
        let arguments = [
            self.read(x).into(),
            coefficients.into(),
            dcolumns.into(),
            kernel.into(),
            activation(norm.activation),
            t.into(),
            c.into(),
            FRAMES.into(),
            dz.into(),
            partial.into(),
        ];
        let kernel = format!("norm_back_sums_{}", element.name());
        self.launch(
            kernel,
            [c.div_ceil(CHANNELS), parts, b],
            CHANNELS,
            &arguments,
        );

        let (sums, lines) = (self.scratch(4 * b * 2 * c), self.scratch(4 * b * 3 * c));
        let [of_x, of_film, _] = step.gradients;
        let film = norm.film.map(|film| self.read(film));
        let dfilm = of_film.map(|of| self.slots[of.via.unwrap_or(of.slot)]);
        let arguments = [
            partial.into(),
            coefficients.into(),
            self.parameter(norm.affine, Element::F32).into(),
            film.into(),
            t.into(),
            c.into(),
            norm.groups.into(),
            parts.into(),
            sums.into(),
            lines.into(),
            dfilm.into(),
        ];
        let grid = [norm.groups, b, 1];
        self.launch("norm_back_lines".to_owned(), grid, CHANNELS, &arguments);
        if let (Some(of), Some(film)) = (of_film, norm.film) {
            self.arrive(of, film);
        }

        let (daffine, add) = self.gradient(norm.affine);
        let arguments = [
            sums.into(),
            film.into(),
            b.into(),
            c.into(),
            add.into(),
            daffine.into(),
        ];
        let grid = [c.div_ceil(BLOCK), 1, 1];
        self.launch("affine_back".to_owned(), grid, BLOCK, &arguments);

        if let Some(of) = of_x {
            let (to, add) = self.target(of);
            let arguments = [
                self.read(x).into(),
                dz.into(),
                lines.into(),
                b.into(),
                t.into(),
                c.into(),
                add.into(),
                to.into(),
            ];
            self.each("norm_back", element, x.len(), &arguments);
            self.arrive(of, x);
        }
    }

    fn lookup_back(&mut self, dy: Place, table: Parameter, rows: Indices, y: Map) {
        let known = self.program.parameters[table.0][0];
        let (to, add) = self.gradient(table);
        let arguments = [
            Place::of(Buffer::Rows(rows.index)).into(),
            dy.into(),
            known.into(),
            y.b.into(),
            y.c.into(),
            add.into(),
            to.into(),
        ];
        let grid = [(known * y.c).div_ceil(BLOCK), 1, 1];
        self.launch("lookup_back".to_owned(), grid, BLOCK, &arguments);
    }

    fn attention_back(&mut self, dy: Place, of: Gradient, qkv: Map, heads: usize, y: Map) {
        let ((b, t, c), element) = (y.dims(), self.element(y));
        let depth = c / heads;
        let notes = self.scratch(4 * 2 * b * heads * t);
        let (to, _) = self.target(of);
        let (x, grid) = (self.read(qkv), [t.div_ceil(TILE), heads, b]);
        let arguments = [
            x.into(),
            dy.into(),
            t.into(),
            c.into(),
            depth.into(),
            scale(depth),
            notes.into(),
            to.into(),
        ];
        let kernel = format!("attention_back_queries_{}", element.name());
        self.launch(kernel, grid, THREADS, &arguments);
        let arguments = [
            x.into(),
            dy.into(),
            notes.into(),
            t.into(),
            c.into(),
            depth.into(),
            scale(depth),
            to.into(),
        ];
        let kernel = format!("attention_back_keys_{}", element.name());
        self.launch(kernel, grid, THREADS, &arguments);
        self.arrive(of, qkv);
    }
}

/// The matrix whose rows begin at `place`.
fn plain(place: Place) -> Matrix {
    Matrix {
        place,
        transposed: false,
    }
}

/// As `kernels.cu` counts them.
fn activation(activation: Activation) -> Argument {
    Argument::U32(match activation {
        Activation::None => 0,
        Activation::Silu => 1,
        Activation::Gelu => 2,
    })
}

/// What scores of heads this wide are multiplied by.
fn scale(depth: usize) -> Argument {
    Argument::F32((depth as f64).powf(-0.5) as f32)
}

/// The parameters of an op.
fn parameters(op: &Op) -> impl Iterator<Item = Parameter> {
    let norm = op.norm().map(|(_, norm)| norm.affine);
    let own = match *op {
        Op::Conv(ref conv) => [Some(conv.weight), conv.bias],
        Op::Lookup { table, .. } => [Some(table), None],
        _ => [None, None],
    };
    norm.into_iter().chain(own.into_iter().flatten())
}

/// The type of each value: with products in bf16, maps are bf16 and vectors f32. Where an op would meet both in one
/// product or sum, all are f32.
fn elements(program: &Program) -> Vec<Element> {
    let singles = vec![Element::F32; program.values.len()];
    if program.compute_type == ComputeType::F32 {
        return singles;
    }
    let mut elements = singles.clone();
    for map in program
        .inputs
        .iter()
        .copied()
        .chain(program.ops.iter().map(Op::y))
    {
        if map.t > 1 {
            elements[map.value] = Element::Bf16;
        }
    }
    let is_uniform = program.ops.iter().all(|op| {
        let of = |map: Map| elements[map.value];
        let [x, film, residual] = op.reads();
        let like_y = [x, residual].into_iter().flatten();
        like_y.into_iter().all(|map| of(map) == of(op.y()))
            && film.is_none_or(|film| of(film) == Element::F32)
            && (!matches!(op, Op::Lookup { .. }) || of(op.y()) == Element::F32)
    });
    if is_uniform { elements } else { singles }
}

/// The bytes of each slot: the most that any of its uses needs.
fn slot_bytes(program: &Program, plan: &Plan, elements: &[Element]) -> Vec<usize> {
    let mut bytes = vec![0; plan.slots.len()];
    let mut hold = |slot: usize, of: usize| bytes[slot] = of.max(bytes[slot]);
    let len = |map: Map| map.len() * elements[map.value].size();
    for (i, op) in program.ops.iter().enumerate() {
        if let ValueSlot::Slot(slot) = plan.values[op.y().value] {
            hold(slot, len(op.y()));
        }
        if let (Some(slot), Some((x, _))) = (plan.coefficients[i], op.norm()) {
            hold(slot, 4 * Norm::coefficients(x));
        }
    }
    if let Some(seed) = plan.seed {
        hold(seed, len(program.output));
    }
    for step in &plan.backward {
        let op = &program.ops[step.op];
        hold(step.dy, len(op.y()));
        for (map, gradient) in op.reads().into_iter().zip(step.gradients) {
            if let (Some(map), Some(gradient)) = (map, gradient) {
                hold(gradient.slot, len(map));
                gradient.via.into_iter().for_each(|via| hold(via, len(map)));
            }
        }
        if let (Some(dh), Some((x, _))) = (step.dh, op.norm()) {
            hold(dh, len(x));
        }
    }
    bytes
}
