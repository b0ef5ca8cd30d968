"""HTML put together from elements."""

from metasr.report.html.markup import Markup, details, element, markup, table


def test_elements_escape_their_text_and_attributes():
    assert element("p", "a < b", None, ["&", Markup("<b>")], class_='"x"', hidden=True, title=None) == (
        '<p class="&quot;x&quot;" hidden>a &lt; b&amp;<b></p>'
    )
    assert element("img", alt="") == '<img alt="">'
    assert markup(None) == ""
    assert details("s", "inside", open_=True) == "<details open><summary>s</summary>inside</details>"


def test_tables_have_headings_for_rows_and_columns():
    text = table(["name", "value"], [["a", "1"]], caption="c", numbers=[1])
    assert '<th scope="row">a</th><td class="n">1</td>' in text
    assert '<th scope="col" class="n">value</th>' in text
