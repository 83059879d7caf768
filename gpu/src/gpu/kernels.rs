//! The table of the shaders, one row each: the kernels, which have a twin of the same name on the processor, then the steps, which only a
//! card needs. What a row says about bindings is held against the shaders in a test.

use super::layout::Launch;
use wgpu::{BindGroupLayout, BindingType, BufferBindingType, ComputePipeline, Device, ShaderStages};

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// Its name, file and entry point.
    pub name: &'static str,
    /// The kernels that a step is a part of; none where it is a kernel itself.
    pub part_of: &'static [&'static str],
    /// The whole source.
    pub source: &'static str,
    /// Its own bindings in the order in which buffers are given.
    pub bindings: &'static [(u32, Access)],
    /// Items per workgroup.
    pub items: u32,
}

/// How a kernel uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Storage that is only read.
    Read,
    /// Storage that is written.
    Write,
    /// Constants.
    Uniform,
}

macro_rules! source {
    ($file:expr, $($include:literal),*) => {
        concat!(
            include_str!("../../../shaders/include/common.wgsl"),
            $(include_str!(concat!("../../../shaders/include/", $include, ".wgsl")),)*
            include_str!(concat!("../../../shaders/", $file, ".wgsl"))
        )
    };
}

macro_rules! kernels {
    (
        kernels {
            $($kernel:ident $name:ident [$($include:literal),*] $items:literal: $(($binding:literal, $access:ident)),+;)+
        }
        steps {
            $($step:ident $pass:ident of [$($whole:literal),*] [$($shared:literal),*] $each:literal:
                $(($place:literal, $use:ident)),+;)+
        }
    ) => {
        /// A shader; indexes [`TABLE`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each shader says what it does")]
        pub enum Kernel { $($kernel,)+ $($step),+ }

        /// All of them.
        pub const TABLE: &[Row] = &[
            $(Row {
                name: stringify!($name),
                part_of: &[],
                source: source!(stringify!($name), $($include),*),
                bindings: &[$(($binding, access!($access))),+],
                items: $items,
            },)+
            $(Row {
                name: stringify!($pass),
                part_of: &[$($whole),*],
                source: source!(concat!("steps/", stringify!($pass)), $($shared),*),
                bindings: &[$(($place, access!($use))),+],
                items: $each,
            }),+
        ];
    };
}

macro_rules! access {
    (r) => {
        Access::Read
    };
    (w) => {
        Access::Write
    };
    (u) => {
        Access::Uniform
    };
}

kernels! {
    kernels {
        Fir fir ["fft"] 1: (3, r), (4, r), (5, r), (6, w);
        Filterbank filterbank ["fft"] 1: (3, r), (4, r), (5, r), (6, r), (7, w);
        Levels levels [] 1: (3, r), (4, r), (5, r), (6, r), (7, r), (8, w);
        Gains gains [] 32: (3, r), (4, w), (5, w);
        MixBands mix_bands [] 1: (3, r), (4, r), (5, r), (6, r), (7, r), (8, w);
        Saturate saturate ["filters", "half_way"] 1: (3, u), (4, r), (5, w);
        BlockPeaks block_peaks ["filters"] 1: (3, u), (4, r), (5, w);
        BlockEnergies block_energies ["weighting"] 1: (3, r), (4, r), (5, r), (6, w);
        ApplyGain apply_gain ["gain"] 1: (9, r), (4, r), (5, w);
        Clip clip ["filters", "half_way", "gain"] 1: (3, u), (9, r), (4, r), (5, r), (6, w), (7, w);
    }
    steps {
        Unpack unpack of ["fir", "filterbank", "mix_bands"] [] 1: (3, r), (4, w);
        Spectrum spectrum of ["fir", "filterbank"] ["fft"] 1: (3, r), (4, r), (5, w);
        GainComputer gain_computer of ["levels", "gains"] [] 1: (3, r), (4, r), (5, r), (6, w);
        SaturateApply saturate_apply of ["saturate"] [] 1: (3, r), (4, r), (5, w);
        BlockMeans block_means of ["saturate", "block_peaks"] [] 1: (3, r), (4, w);
        KStates k_states of ["block_energies"] ["weighting"] 1: (3, r), (4, r), (5, w);
        Fade fade of ["apply_gain"] [] 1: (3, w);
    }
}

impl Kernel {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

/// Bindings that every kernel has: tracks, items, ledger.
pub const COMMON: [(u32, Access); 3] = [(0, Access::Read), (1, Access::Read), (2, Access::Write)];

/// A compiled kernel.
#[derive(Debug)]
pub struct Compiled {
    /// The pipeline.
    pub pipeline: ComputePipeline,
    /// What it wants bound.
    pub layout: BindGroupLayout,
}

/// Compiles all kernels. Errors go to the device's error scope.
#[must_use]
pub fn compile(device: &Device) -> Vec<Compiled> {
    TABLE
        .iter()
        .map(|row| {
            let entries: Vec<_> = COMMON
                .iter()
                .chain(row.bindings)
                .map(|&(binding, access)| wgpu::BindGroupLayoutEntry {
                    binding,
                    visibility: ShaderStages::COMPUTE,
                    ty: BindingType::Buffer {
                        ty: match access {
                            Access::Uniform => BufferBindingType::Uniform,
                            access => BufferBindingType::Storage { read_only: access == Access::Read },
                        },
                        has_dynamic_offset: false,
                        min_binding_size: None,
                    },
                    count: None,
                })
                .collect();
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(row.name),
                entries: &entries,
            });
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(row.name),
                source: wgpu::ShaderSource::Wgsl(row.source.into()),
            });
            let whole = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(row.name),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: size_of::<Launch>() as u32,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(row.name),
                layout: Some(&whole),
                module: &module,
                entry_point: Some(row.name),
                // Every kernel writes what it reads of its workgroup's memory.
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..wgpu::PipelineCompilationOptions::default()
                },
                cache: None,
            });
            Compiled { pipeline, layout }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::layout::{BANDS, Band, Item, POINTS, STEP, State, Track};
    use naga::{AddressSpace, Module, StorageAccess, TypeInner};
    use std::mem::offset_of;

    fn module(row: &Row) -> Module {
        let module = naga::front::wgsl::parse_str(row.source)
            .unwrap_or_else(|error| panic!("{}: {}", row.name, error.emit_to_string(row.source)));
        let mut validator =
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::IMMEDIATES);
        validator
            .validate(&module)
            .unwrap_or_else(|error| panic!("{}: {}", row.name, error.emit_to_string(row.source)));
        module
    }

    #[test]
    fn the_table_says_what_the_shaders_bind() {
        for row in TABLE {
            let module = module(row);
            let mut bound: Vec<(u32, Access)> = module
                .global_variables
                .iter()
                .filter_map(|(_, variable)| {
                    let access = match variable.space {
                        AddressSpace::Uniform => Access::Uniform,
                        AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Access::Write,
                        AddressSpace::Storage { .. } => Access::Read,
                        _ => return None,
                    };
                    let binding = variable.binding.unwrap();
                    assert_eq!(binding.group, 0);
                    Some((binding.binding, access))
                })
                .collect();
            bound.sort_unstable();
            let mut said: Vec<(u32, Access)> = COMMON.iter().chain(row.bindings).copied().collect();
            said.sort_unstable();
            assert_eq!(bound, said, "{}", row.name);
            let [entry] = &module.entry_points[..] else { panic!("{}: more than one entry point", row.name) };
            assert_eq!(entry.name, row.name);
            let shared: u32 = module
                .global_variables
                .iter()
                .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
                .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
                .sum();
            assert!(shared <= crate::gpu::device::SHARED, "{}: {shared} bytes of workgroup memory", row.name);
        }
    }

    /// Names, offsets and the size of a structure of a shader.
    fn structure(module: &Module, name: &str) -> (Vec<(String, usize)>, usize) {
        let (_, found) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)).unwrap();
        let TypeInner::Struct { members, span } = &found.inner else { panic!("{name} is no structure") };
        let fields = members.iter().map(|m| (m.name.clone().unwrap(), m.offset as usize)).collect();
        (fields, *span as usize)
    }

    macro_rules! assert_same {
        ($module:expr, $ty:ident, $($field:ident),+) => {
            let (fields, span) = structure($module, stringify!($ty));
            let ours = vec![$((stringify!($field).to_owned(), offset_of!($ty, $field))),+];
            assert_eq!(fields, ours, stringify!($ty));
            assert_eq!(span, size_of::<$ty>(), stringify!($ty));
        };
    }

    #[test]
    fn host_and_shaders_lay_out_alike() {
        let module = module(Kernel::Gains.row());
        assert_same!(
            &module,
            Track,
            frames,
            hop,
            store,
            input,
            toned,
            spectra,
            bands,
            bands_stride,
            sums,
            sums_stride,
            points,
            points_stride,
            point_count,
            fir,
            fir_parts,
            fir_first,
            fir_both,
            bank,
            bank_parts,
            bank_first,
            band_count,
            row_count,
            has_tone,
            raw,
            raw_plane,
            raw_first,
            raw_bytes,
            blocks,
            states,
            report_threshold,
            clip_begin,
            clip_width,
            clip_weight,
            full,
            cube,
            square,
            fade_in,
            fade_out,
            spare
        );
        assert_same!(
            &module, Band, row, window, weights, phases, threshold, slope, knee, most, makeup, attack, release, spare
        );
        assert_same!(&module, Item, track, at, count, slot);
        assert_same!(&module, Launch, first, count, ledger, window, mode, spare);
        assert_same!(&module, State, reduction, total, held);
    }

    fn constant(module: &Module, name: &str) -> usize {
        let (_, found) = module.constants.iter().find(|(_, c)| c.name.as_deref() == Some(name)).unwrap();
        let naga::Expression::Literal(naga::Literal::U32(value)) = module.global_expressions[found.init] else {
            panic!("{name} is no plain number")
        };
        value as usize
    }

    #[test]
    fn host_and_shaders_agree_on_numbers() {
        use crate::gpu::{layout, tables};
        let fft = module(Kernel::Filterbank.row());
        assert_eq!(constant(&fft, "BANDS"), BANDS);
        assert_eq!((constant(&fft, "POINTS"), constant(&fft, "STEP")), (POINTS, STEP));
        let clip = module(Kernel::Clip.row());
        for (name, value) in tables::PLACES {
            assert_eq!(constant(&clip, name), *value, "{name}");
        }
        assert_eq!(constant(&clip, "TILE"), layout::TILE);
        let energies = module(Kernel::BlockEnergies.row());
        assert_eq!(constant(&energies, "STRETCH"), layout::STRETCH);
        assert_eq!(constant(&energies, "MEMORY"), layout::MEMORY);
    }

    #[test]
    fn the_layout_test_notices_swapped_fields() {
        let source = Kernel::Gains.row().source.replacen(
            "    attack: f32,\n    release: f32,",
            "    release: f32,\n    attack: f32,",
            1,
        );
        assert_ne!(source, Kernel::Gains.row().source);
        let module = naga::front::wgsl::parse_str(&source).unwrap();
        let (fields, _) = structure(&module, "Band");
        assert_ne!(fields[9], ("attack".to_owned(), offset_of!(Band, attack)));
    }
}
