//! Products of matrices, by cuBLAS.

use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;
use cudarc::cublas::{result as blas, sys as blas_sys};

use super::{Buffer, Context, Stream};

/// Space that cuBLAS gets, bytes: what NVIDIA recommends for Hopper.
const BLAS_SPACE: usize = 32 << 20;

/// A matrix of bf16 in device memory, row by row; with several of the same size if `stride` is used.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    /// Where it begins.
    pub address: u64,
    /// From one row to the next, values.
    pub pitch: usize,
    /// From one matrix of a batch to the next, values.
    pub stride: usize,
}

/// `to = scale * from * by + keep * to`, for a batch.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// `rows` rows of `inner`.
    pub from: Matrix,
    /// `inner` rows of `columns`, or `columns` rows of `inner` if `transposed`.
    pub by: Matrix,
    /// How `by` lies.
    pub transposed: bool,
    /// `rows` rows of `columns`.
    pub to: Matrix,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Length of the sums.
    pub inner: usize,
    /// Matrices in the batch.
    pub batch: usize,
    /// Factor of the product.
    pub scale: f32,
    /// Factor of what is there.
    pub keep: f32,
}

/// cuBLAS on one stream.
pub struct Blas {
    raw: blas_sys::cublasHandle_t,
    _space: Buffer,
    _stream: Rc<Stream>,
    context: Arc<Context>,
}

impl Blas {
    /// Starts cuBLAS; it works on `stream`, in space of its own, so that it can be captured.
    ///
    /// # Errors
    /// cuBLAS does not start.
    pub fn new(context: &Arc<Context>, stream: &Rc<Stream>) -> anyhow::Result<Self> {
        let space = Buffer::new(context, BLAS_SPACE)?;
        let raw = blas::create_handle().context("cuBLAS does not start")?;
        let (at, bytes) = (space.address, space.bytes);
        let blas = Self { raw, _space: space, _stream: Rc::clone(stream), context: Arc::clone(context) };
        // SAFETY: handle, stream and space live as long as `blas`. The order matters: a new stream takes the space away.
        unsafe {
            blas::set_stream(raw, stream.raw.cast()).context("cuBLAS takes no stream")?;
            blas_sys::cublasSetWorkspace_v2(raw, std::ptr::with_exposed_provenance_mut(usize::try_from(at)?), bytes)
                .result()
                .context("cuBLAS takes no space")?;
        }
        Ok(blas)
    }

    /// Enqueues a product.
    ///
    /// # Errors
    /// cuBLAS refuses it.
    pub fn multiply(&self, product: &Product) -> anyhow::Result<()> {
        use blas_sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
        let at = |matrix: &Matrix| usize::try_from(matrix.address).map(std::ptr::with_exposed_provenance_mut::<c_void>);
        let Product { from, by, to, .. } = product;
        let bf16 = blas_sys::cudaDataType::CUDA_R_16BF;
        let (scale, keep) = (product.scale, product.keep);
        // cuBLAS counts by column: the transposed product, by^T * from^T = to^T, lies as we want it.
        // SAFETY: the handle lives, factors are read by the call, addresses are as the module says.
        unsafe {
            blas::gemm_strided_batched_ex(
                self.raw,
                if product.transposed { CUBLAS_OP_T } else { CUBLAS_OP_N },
                CUBLAS_OP_N,
                c_int::try_from(product.columns)?,
                c_int::try_from(product.rows)?,
                c_int::try_from(product.inner)?,
                (&raw const scale).cast(),
                at(by)?,
                bf16,
                c_int::try_from(by.pitch)?,
                i64::try_from(by.stride)?,
                at(from)?,
                bf16,
                c_int::try_from(from.pitch)?,
                i64::try_from(from.stride)?,
                (&raw const keep).cast(),
                at(to)?,
                bf16,
                c_int::try_from(to.pitch)?,
                i64::try_from(to.stride)?,
                c_int::try_from(product.batch)?,
                blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .context("cuBLAS refuses a product")
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: created by `new`, destroyed once.
        let _ = self.context.enter().map(|()| unsafe { blas::destroy_handle(self.raw) });
    }
}
