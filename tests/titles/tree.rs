//! The example's own way through a page against select's, which builds the whole tree.

use html5ever::{namespace_url, ns};
use select::document::Document;
use select::node::{Data, Node};
use select::predicate::{Name, Predicate};

use title::Finding;

#[path = "../../examples/titles/title.rs"]
#[expect(dead_code, reason = "the example needs more of it than this test")]
mod title;

const PIECES: &[&str] = &[
    "<title>",
    "</title>",
    "<title>one</title>",
    "<title>two</title>",
    "<title/>",
    "<b>",
    "</b>",
    "<a>",
    "</a>",
    "<i>",
    "</i>",
    "<nobr>",
    "<font>",
    "<font color=x>",
    "<p>",
    "</p>",
    "<div>",
    "</div>",
    "<h1>",
    "</h1>",
    "<ul>",
    "<li>",
    "<dd>",
    "<form>",
    "</form>",
    "<button>",
    "<object>",
    "</object>",
    "<marquee>",
    "</marquee>",
    "<ruby>",
    "<rtc>",
    "<br>",
    "</br>",
    "<hr>",
    "<img>",
    "<image>",
    "<input type=hidden>",
    "<tr>",
    "<td>",
    "</td>",
    "<caption>",
    "<col>",
    "<select>",
    "<option>",
    "</select>",
    "<template>",
    "</template>",
    "<svg>",
    "</svg>",
    "<svg/>",
    "<foreignObject>",
    "</foreignObject>",
    "<desc>",
    "<math>",
    "</math>",
    "<mi>",
    "<mtext>",
    "<annotation-xml>",
    "<annotation-xml encoding=text/html>",
    "<html>",
    "</html>",
    "<head>",
    "</head>",
    "<body>",
    "</body>",
    "<base>",
    "<link/>",
    "<meta charset=utf-8>",
    "<script>",
    "</script>",
    "<style>",
    "</style>",
    "<textarea>",
    "</textarea>",
    "<noscript>",
    "</noscript>",
    "<iframe>",
    "</iframe>",
    "<noframes>",
    "</noframes>",
    "<xmp>",
    "</xmp>",
    "<plaintext>",
    "<!--",
    "-->",
    "<!doctype html>",
    "<![CDATA[",
    "]]>",
    "<",
    "</",
    "<x a='",
    "'>",
    "text",
    " ",
    "\r\n",
    "\0",
    "&amp;",
    "&notit;",
    "&#x0;",
    "&#128;",
];

/// The title as the example finds it.
fn ours(page: &str) -> Option<String> {
    title::findings(page.as_bytes()).find_map(|finding| match finding.unwrap() {
        Finding::Title(title) => Some(title),
        _ => None,
    })
}

/// The title as a tree has it. `select` leaves out what is in templates.
fn in_tree(page: &str) -> Option<String> {
    let in_html =
        |node: &Node<'_>| matches!(node.data(), Data::Element(name, _) if name.ns == ns!(html));
    let document = Document::from(page);
    let title = document.find(Name("title").and(in_html)).next();
    title.map(|title| title.text())
}

/// Pages that change their mind are left out: `<frameset>` throws away the titles before it, and
/// `<table>` may put a later one before an earlier.
#[test]
fn random_pages_have_the_title_that_their_tree_has() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |end: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % end as u64).unwrap()
    };
    let mut with_title = 0;
    for _ in 0..3_000 {
        let page: String = (0..=below(30))
            .map(|_| PIECES[below(PIECES.len())])
            .collect();
        let title = in_tree(&page);
        assert_eq!(ours(&page), title, "of {page:?}");
        with_title += usize::from(title.is_some());
    }
    assert!(
        (500..2_500).contains(&with_title),
        "{with_title} pages had a title"
    );
}
