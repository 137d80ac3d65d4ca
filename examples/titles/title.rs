//! The title of a page, found as its text comes in.
//!
//! [`findings`] reads no further than it is asked to: a caller that has the title stops asking, and
//! the rest of the page is never read. It promises an answer in little time, memory and stack for
//! any text at all. It knows neither bytes nor networks.
//!
//! ```text
//! text -> html5gum's tokenizer -> html5ever's tree builder -> Sink -> select's Document -> Finding
//! ```
//!
//! Handing the whole text to `select::document::Document::from` would be one line. It goes down by
//! recursion, and the stack of a thread ends at some 2,000 nested elements; it also keeps ten
//! megabytes of page as a gigabyte of nodes. So the tree builder that select uses is run here, step
//! by step, into a sink that keeps only the elements that are still open. When a title or a meta
//! element is complete, it and the elements around it become a select `Document`, which is asked.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use html5ever::interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Doctype, Tag, TagKind, Token, TokenSink, TokenSinkResult};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts};
use html5ever::{
    Attribute, ExpandedName, LocalName, QualName, expanded_name, local_name, namespace_url, ns,
};
use html5gum::emitters::callback::{Callback, CallbackEmitter, CallbackEvent};
use html5gum::{Emitter, ForwardingEmitter, IoReader, Span, State, Tokenizer};
use select::document::Document;
use select::node::{Data, Node, Raw};
use select::predicate::{Any, Name, Predicate};

/// The depth to which elements may nest; Chrome's bound. Each tag costs the tree
/// builder time in proportion to the depth.
pub(crate) const MAX_DEPTH: usize = 512;

/// The work that the tree builder may do for one page, counted in questions that it
/// asks its sink. Ten megabytes of ordinary page need half of this; a page that is
/// built to be slow within [`MAX_DEPTH`] would need a hundred times as much. A
/// count and not a clock, so that a page has the same title on every machine.
pub(crate) const MAX_STEPS: u64 = 60_000_000;

/// Something that the text of the page has said.
#[derive(Debug, PartialEq)]
pub(crate) enum Finding {
    /// A complete title element of the document's own, with its text as it stands. The first one
    /// is what a browser shows.
    Title(String),
    /// A meta element, in a document with the elements around it.
    Meta(Document),
    /// The head ended.
    HeadEnded,
    /// More than [`MAX_DEPTH`] elements, one in the other.
    TooDeep,
    /// More than [`MAX_STEPS`] of work.
    TooTangled,
}

/// The text with its white space as `document.title` folds it; nothing if nothing is left.
pub(crate) fn fold(title: &str) -> Option<String> {
    let words: Vec<&str> = title.split_ascii_whitespace().collect();
    let folded = words.join(" ");
    (!folded.trim().is_empty()).then_some(folded)
}

/// Reads the text, which is to be UTF-8, and tells what it says, in the order in which it is said.
pub(crate) fn findings(text: impl Read) -> impl Iterator<Item = io::Result<Finding>> {
    // Browsers run scripts, so for them what is in <noscript> is no title.
    let options = TreeBuilderOpts {
        scripting_enabled: true,
        ..TreeBuilderOpts::default()
    };
    let builder = Builder {
        tree: TreeBuilder::new(Sink::new(), options),
        tag: None,
        attribute_counts: false,
        next_state: None,
    };
    Tokenizer::new_with_emitter(IoReader::new(text), Tokens(CallbackEmitter::new(builder)))
}

/// The tokenizer's emitter: it passes events to the [`Builder`], and the findings
/// back to the tokenizer, whose caller gets them.
struct Tokens(CallbackEmitter<Builder, Finding>);

impl ForwardingEmitter for Tokens {
    type Token = Finding;

    fn inner(&mut self) -> &mut impl Emitter<Token = Finding> {
        &mut self.0
    }

    fn should_emit_errors(&mut self) -> bool {
        false
    }

    fn pop_token(&mut self) -> Option<Finding> {
        self.0.callback_mut().tree.sink.findings.pop_front()
    }

    /// Only the tree builder knows whether `<title>` or `<svg>` begins here, and so how to read on.
    fn emit_current_tag(&mut self) -> Option<State> {
        // The emitter's own guess at the state: none, as it was not told to guess.
        let _ = self.0.emit_current_tag();
        self.0.callback_mut().next_state.take()
    }

    fn emit_eof(&mut self) {
        self.0.emit_eof();
        self.0.callback_mut().process(Token::EOFToken);
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&mut self) -> bool {
        self.0
            .callback_mut()
            .tree
            .adjusted_current_node_present_but_not_in_html_namespace()
    }
}

/// Puts tokens together from the tokenizer's events, for the tree builder.
struct Builder {
    tree: TreeBuilder<Handle, Sink>,
    /// The start tag that is being read.
    tag: Option<Tag>,
    /// `true` if the last name of an attribute was one to keep.
    attribute_counts: bool,
    /// The tokenizer's state after this tag, if it changes.
    next_state: Option<State>,
}

impl Builder {
    fn process(&mut self, token: Token) {
        const LINE: u64 = 1; // No caller asks for it.
        self.next_state = match self.tree.process_token(token, LINE) {
            TokenSinkResult::Continue => None,
            TokenSinkResult::Script(_) => Some(State::Data),
            TokenSinkResult::Plaintext => Some(State::PlainText),
            TokenSinkResult::RawData(RawKind::Rcdata) => Some(State::RcData),
            TokenSinkResult::RawData(RawKind::Rawtext) => Some(State::RawText),
            TokenSinkResult::RawData(RawKind::ScriptData | RawKind::ScriptDataEscaped(_)) => {
                Some(State::ScriptData)
            }
        };
        let sink = &mut self.tree.sink;
        if sink.steps.get() > MAX_STEPS {
            sink.findings.push_back(Finding::TooTangled);
        }
    }

    fn process_text(&mut self, text: &[u8]) {
        for (n, part) in text.split(|&byte| byte == 0).enumerate() {
            if n > 0 {
                self.process(Token::NullCharacterToken);
            }
            self.process(Token::CharacterTokens(tendril(part)));
        }
    }

    /// Keeps the first attribute of each name that matters to the tree builder or to who reads a
    /// [`Finding::Meta`]. All others are left out, so a million attributes on a tag cost nothing.
    fn begin_attribute(&mut self, name: &[u8]) {
        let Some(tag) = &mut self.tag else { return };
        self.attribute_counts = matches!(
            name,
            b"charset"
                | b"color"
                | b"content"
                | b"encoding"
                | b"face"
                | b"http-equiv"
                | b"size"
                | b"type"
        ) && !tag
            .attrs
            .iter()
            .any(|other| other.name.local.as_bytes() == name);
        if self.attribute_counts {
            let name = QualName::new(None, ns!(), local_name(name));
            tag.attrs.push(Attribute {
                name,
                value: StrTendril::new(),
            });
        }
    }

    fn end_attribute(&mut self, value: &[u8]) {
        let last = self.tag.as_mut().and_then(|tag| tag.attrs.last_mut());
        if let Some(attribute) = last.filter(|_| self.attribute_counts) {
            attribute.value = tendril(value);
        }
    }
}

impl Callback<Finding, ()> for Builder {
    fn handle_event(&mut self, event: CallbackEvent<'_>, _: Span<()>) -> Option<Finding> {
        match event {
            CallbackEvent::OpenStartTag { name } => self.tag = Some(tag(TagKind::StartTag, name)),
            CallbackEvent::AttributeName { name } => self.begin_attribute(name),
            CallbackEvent::AttributeValue { value } => self.end_attribute(value),
            CallbackEvent::CloseStartTag { self_closing } => {
                if let Some(mut tag) = self.tag.take() {
                    tag.self_closing = self_closing;
                    self.process(Token::TagToken(tag));
                }
            }
            CallbackEvent::EndTag { name } => {
                self.process(Token::TagToken(tag(TagKind::EndTag, name)));
            }
            CallbackEvent::String { value } => self.process_text(value),
            CallbackEvent::Doctype {
                name,
                public_identifier,
                system_identifier,
                force_quirks,
            } => {
                self.process(Token::DoctypeToken(Doctype {
                    name: (!name.is_empty()).then(|| tendril(name)),
                    public_id: public_identifier.map(tendril),
                    system_id: system_identifier.map(tendril),
                    force_quirks,
                }));
            }
            CallbackEvent::Comment { .. } | CallbackEvent::Error(_) => {}
        }
        None
    }
}

fn tag(kind: TagKind, name: &[u8]) -> Tag {
    Tag {
        kind,
        name: local_name(name),
        self_closing: false,
        attrs: Vec::new(),
    }
}

fn local_name(name: &[u8]) -> LocalName {
    LocalName::from(String::from_utf8_lossy(name))
}

fn tendril(text: &[u8]) -> StrTendril {
    StrTendril::from(&*String::from_utf8_lossy(text))
}

/// A node for the tree builder. It knows its way up only, so a node lives as long as it or something
/// in it is open, and a page of ten megabytes takes the memory of its deepest part.
struct Element {
    name: QualName,
    attributes: Vec<Attribute>,
    flags: ElementFlags,
    parent: RefCell<Option<Handle>>,
    depth: Cell<usize>,
    /// Kept for titles only.
    text: RefCell<StrTendril>,
}

type Handle = Rc<Element>;

impl Element {
    fn new(name: QualName, attributes: Vec<Attribute>, flags: ElementFlags) -> Handle {
        Rc::new(Self {
            name,
            attributes,
            flags,
            parent: RefCell::new(None),
            depth: Cell::new(0),
            text: RefCell::new(StrTendril::new()),
        })
    }

    fn is(&self, name: ExpandedName<'_>) -> bool {
        self.name.expanded() == name
    }

    /// As select keeps it.
    fn data(&self) -> Data {
        let attributes = self.attributes.iter();
        let attributes = attributes
            .map(|it| (it.name.clone(), it.value.clone()))
            .collect();
        Data::Element(self.name.clone(), attributes)
    }
}

impl Drop for Element {
    // The derived drop would go up by recursion.
    fn drop(&mut self) {
        let mut above = self.parent.take();
        while let Some(element) = above.and_then(Rc::into_inner) {
            above = element.parent.take();
        }
    }
}

/// The document that the tree builder builds.
struct Sink {
    document: Handle,
    findings: VecDeque<Finding>,
    steps: Cell<u64>,
}

/// A node that is no element: the document, a comment.
fn nameless() -> Handle {
    let name = QualName::new(None, ns!(), LocalName::default());
    Element::new(name, Vec::new(), ElementFlags::default())
}

impl Sink {
    fn new() -> Self {
        Self {
            document: nameless(),
            findings: VecDeque::new(),
            steps: Cell::new(0),
        }
    }

    fn count(&self, steps: usize) {
        self.steps.set(self.steps.get() + steps as u64);
    }

    fn put(&mut self, parent: &Handle, child: NodeOrText<Handle>) {
        self.count(1);
        match child {
            NodeOrText::AppendText(text) if parent.is(expanded_name!(html "title")) => {
                parent.text.borrow_mut().push_tendril(&text);
            }
            NodeOrText::AppendText(_) => {}
            NodeOrText::AppendNode(child) => {
                child.depth.set(parent.depth.get() + 1);
                *child.parent.borrow_mut() = Some(Rc::clone(parent));
                if child.depth.get() > MAX_DEPTH {
                    self.findings.push_back(Finding::TooDeep);
                }
                if child.is(expanded_name!(html "meta")) {
                    self.findings
                        .push_back(Finding::Meta(self.with_surroundings(&child)));
                }
            }
        }
    }

    /// The element and those around it, outermost first, as select's document.
    fn with_surroundings(&self, element: &Handle) -> Document {
        let mut line = vec![Rc::clone(element)];
        let mut above = element.parent.borrow().clone();
        while let Some(element) = above {
            above = element.parent.borrow().clone();
            line.push(element);
        }
        line.pop(); // The document itself.
        self.count(10 * line.len());
        let mut data: Vec<Data> = line.iter().rev().map(|element| element.data()).collect();
        data.push(Data::Text(element.text.borrow().clone()));
        let last = data.len() - 1;
        let node = |(index, data): (usize, Data)| {
            let (above, below) = (index.checked_sub(1), (index < last).then_some(index + 1));
            Raw {
                index,
                parent: above,
                prev: None,
                next: None,
                first_child: below,
                last_child: below,
                data,
            }
        };
        Document {
            nodes: data.into_iter().enumerate().map(node).collect(),
        }
    }
}

impl TreeSink for Sink {
    type Handle = Handle;
    type Output = ();

    fn finish(self) {}

    fn get_document(&mut self) -> Handle {
        Rc::clone(&self.document)
    }

    fn elem_name<'a>(&'a self, target: &'a Handle) -> ExpandedName<'a> {
        self.count(1);
        target.name.expanded()
    }

    fn same_node(&self, one: &Handle, other: &Handle) -> bool {
        self.count(1);
        Rc::ptr_eq(one, other)
    }

    fn create_element(
        &mut self,
        name: QualName,
        attributes: Vec<Attribute>,
        flags: ElementFlags,
    ) -> Handle {
        self.count(10); // It takes memory.
        Element::new(name, attributes, flags)
    }

    fn append(&mut self, parent: &Handle, child: NodeOrText<Handle>) {
        self.put(parent, child);
    }

    fn append_based_on_parent_node(
        &mut self,
        element: &Handle,
        prev_element: &Handle,
        child: NodeOrText<Handle>,
    ) {
        let parent = element.parent.borrow().clone();
        self.put(&parent.unwrap_or_else(|| Rc::clone(prev_element)), child);
    }

    fn append_before_sibling(&mut self, sibling: &Handle, child: NodeOrText<Handle>) {
        let parent = sibling.parent.borrow().clone();
        if let Some(parent) = parent {
            self.put(&parent, child);
        }
    }

    fn remove_from_parent(&mut self, target: &Handle) {
        *target.parent.borrow_mut() = None;
    }

    fn reparent_children(&mut self, _: &Handle, _: &Handle) {
        // Asked for in one case only: what is in a block goes into a new formatting element, and
        // that into the block. A way up that leaves out the formatting element leads to the same
        // titles, and no caller has to know the way down.
    }

    /// An element is complete.
    fn pop(&mut self, element: &Handle) {
        if element.is(expanded_name!(html "head")) {
            self.findings.push_back(Finding::HeadEnded);
        }
        if element.is(expanded_name!(html "title")) {
            let part = self.with_surroundings(element);
            let in_template = Name("template").and(in_html).descendant(Any);
            let own = part
                .find(Name("title").and(in_html).and(in_template.not()))
                .next();
            self.findings
                .extend(own.map(|title| Finding::Title(title.text())));
        }
    }

    /// Titles in a template are told by the template around them.
    fn get_template_contents(&mut self, target: &Handle) -> Handle {
        Rc::clone(target)
    }

    fn is_mathml_annotation_xml_integration_point(&self, target: &Handle) -> bool {
        target.flags.mathml_annotation_xml_integration_point
    }

    // What follows says nothing about titles.

    fn parse_error(&mut self, _: Cow<'static, str>) {}

    fn create_comment(&mut self, _: StrTendril) -> Handle {
        nameless()
    }

    fn create_pi(&mut self, _: StrTendril, _: StrTendril) -> Handle {
        nameless()
    }

    fn append_doctype_to_document(&mut self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn set_quirks_mode(&mut self, _: QuirksMode) {}

    fn add_attrs_if_missing(&mut self, _: &Handle, _: Vec<Attribute>) {}
}

/// A predicate for select, whose `Name("title")` finds also titles of drawings.
fn in_html(node: &Node<'_>) -> bool {
    matches!(node.data(), Data::Element(name, _) if name.ns == ns!(html))
}
