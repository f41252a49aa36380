//! Spans as the places that plans show.

use crate::config::diagnostic::{SourceMap, Span};
use crate::model::Place;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Turns spans into places, with one shared path per file.
#[derive(Debug)]
pub struct Places<'s> {
    sources: &'s SourceMap,
    files: RefCell<HashMap<u32, Arc<str>>>,
}

impl<'s> Places<'s> {
    /// Places in these texts.
    pub fn new(sources: &'s SourceMap) -> Self {
        Self { sources, files: RefCell::default() }
    }

    /// Where a span begins.
    pub fn at(&self, span: Span) -> Place {
        let (line, column) = self.sources.line_column(span);
        let mut files = self.files.borrow_mut();
        let file =
            files.entry(span.file.0).or_insert_with(|| Arc::from(self.sources.path(span.file)));
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Place { file: Arc::clone(file), line: narrow(line), column: narrow(column) }
    }
}
