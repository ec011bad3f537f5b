//! The documents of operations.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::problem::Document;

/// The operations that are known, the latest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OperationList {
    pub(super) operations: Vec<OperationDocument>,
}

/// An operation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Operation)]
pub(crate) struct OperationDocument {
    pub(super) id: String,
    /// `load`, `promote` or `rollback`.
    pub(super) kind: &'static str,
    pub(super) model: String,
    /// `running`, `succeeded` or `failed`.
    pub(super) state: &'static str,
    /// From 0 to 1.
    pub(super) progress: f64,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = OperationResult, nullable = false)]
    pub(super) result: Option<Value>,
    /// Why it failed: a problem document.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Document<'static>, nullable = false)]
    pub(super) error: Option<Value>,
}

/// What came of an operation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OperationResult {
    pub(super) model: String,
    /// The version that was loaded, or that serves now.
    pub(super) version: u64,
}
