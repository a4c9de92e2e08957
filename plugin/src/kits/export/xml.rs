//! Elements of XML, as a tree.

use audiodiff::{Error, Result};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

/// An element, with what is in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Element {
    name: String,
    attributes: Vec<(&'static str, String)>,
    text: Option<String>,
    elements: Vec<Element>,
}

impl Element {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            attributes: Vec::new(),
            text: None,
            elements: Vec::new(),
        }
    }

    /// With this attribute.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.attributes.push((name, plain(&value.to_string())));
        self
    }

    /// With this element after the others.
    pub fn and(mut self, element: Self) -> Self {
        self.elements.push(element);
        self
    }

    /// With these elements after the others.
    pub fn and_all(mut self, elements: impl IntoIterator<Item = Self>) -> Self {
        self.elements.extend(elements);
        self
    }

    /// With an element that has nothing but this text in it.
    pub fn and_text(self, name: &str, text: impl ToString) -> Self {
        let mut element = Self::new(name);
        element.text = Some(plain(&text.to_string()));
        self.and(element)
    }

    /// As a document of its own.
    ///
    /// # Errors
    /// Never: it is written to memory.
    pub fn document(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 1);
        let declaration = Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None));
        writer
            .write_event(declaration)
            .and_then(|()| self.write(&mut writer))
            .map_err(Error::io(std::path::Path::new("XML")))?;
        let mut bytes = writer.into_inner();
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let mut start = BytesStart::new(&self.name);
        for (name, value) in &self.attributes {
            start.push_attribute((*name, value.as_str()));
        }
        if self.text.is_none() && self.elements.is_empty() {
            return writer.write_event(Event::Empty(start));
        }
        writer.write_event(Event::Start(start))?;
        if let Some(text) = &self.text {
            writer.write_event(Event::Text(BytesText::new(text)))?;
        }
        for element in &self.elements {
            element.write(writer)?;
        }
        writer.write_event(Event::End(BytesEnd::new(&self.name)))
    }
}

/// A text without what XML has no way to write.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
        .replace(['\u{fffe}', '\u{ffff}'], " ")
}
