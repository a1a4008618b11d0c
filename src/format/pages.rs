//! JSON arrays that cross to the caller in pieces: no text comes near the greatest length of a JavaScript string.

/// The usual size of a piece in bytes.
pub const PAGE: usize = 4 << 20;

/// JSON arrays in the making, none much longer than a limit.
#[derive(Debug)]
pub struct Pages {
    limit: usize,
    page: Vec<u8>,
    full: Vec<Vec<u8>>,
}

impl Pages {
    /// None yet; about `limit` bytes each.
    pub fn new(limit: usize) -> Self {
        Pages { limit, page: Vec::new(), full: Vec::new() }
    }

    /// Appends an element, which `item` writes.
    pub fn push(&mut self, item: impl FnOnce(&mut Vec<u8>)) {
        self.page.push(if self.page.is_empty() { b'[' } else { b',' });
        item(&mut self.page);
        if self.page.len() >= self.limit {
            self.end_page();
        }
    }

    fn end_page(&mut self) {
        if !self.page.is_empty() {
            self.page.push(b']');
            self.full.push(std::mem::take(&mut self.page));
        }
    }

    /// Appends a record: its id and its value, both JSON texts.
    pub fn push_record(&mut self, id: &[u8], value: &[u8]) {
        self.push(|page| {
            page.extend_from_slice(id);
            page.push(b',');
            page.extend_from_slice(value);
        });
    }

    /// All of them.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        self.end_page();
        self.full
    }
}
