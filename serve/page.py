"""`/docs`: the OpenAPI document as one page that needs nothing from elsewhere; requests can be sent from it."""

import json
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } code, pre, textarea, input { font: 13px/1.45 ui-monospace, monospace; }
details { border: 1px solid #8886; border-radius: .4rem; margin: .5rem 0; padding: .5rem .8rem; }
summary { cursor: pointer; } summary b { display: inline-block; min-width: 3.2rem; }
textarea { width: 100%; min-height: 7rem; box-sizing: border-box; } label { display: block; margin: .3rem 0; }
input { width: 20rem; } pre { overflow: auto; background: #8881; padding: .6rem; border-radius: .3rem; }
table { border-collapse: collapse; } td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
"""
_SCRIPT = """
document.addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target, out = form.querySelector('pre'), headers = {};
  let path = form.dataset.path, query = new URLSearchParams();
  for (const field of form.querySelectorAll('input')) {
    if (!field.value) continue;
    if (field.dataset.in === 'path') path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
    if (field.dataset.in === 'query') query.append(field.name, field.value);
    if (field.dataset.in === 'header') headers[field.name] = field.value;
  }
  const key = document.querySelector('#key').value, body = form.querySelector('textarea');
  if (key) headers['Authorization'] = `Bearer ${key}`;
  if (body) headers['Content-Type'] = form.querySelector('select').value;
  const answer = await fetch(path + (query.size ? `?${query}` : ''),
    {method: form.dataset.method, headers, body: body ? body.value : undefined});
  let text = await answer.text();
  try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it is */ }
  out.textContent = `${answer.status} ${answer.headers.get('content-type') || ''}\\n\\n${text}`;
});
document.addEventListener('change', (event) => {
  if (event.target.matches('select')) {
    event.target.form.querySelector('textarea').value = event.target.selectedOptions[0].dataset.example;
  }
});
"""


def docs_page(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f'<p>{escape(info["description"])} The document itself: <a href="/openapi.json">/openapi.json</a>.</p>'
        '<label>API key, if the service has one <input id="key" type="password" autocomplete="off"></label>'
        f"{operations}<script>{_SCRIPT}</script></body></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    fields = "".join(_field(parameter) for parameter in operation.get("parameters", ()))
    answers = "".join(
        f"<tr><td>{status}</td><td>{escape(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
        f'</summary><form data-method="{method.upper()}" data-path="{escape(path)}">{fields}'
        f"{_body(operation.get('requestBody'))}<p><button>Send</button></p><pre></pre></form>"
        f"<table>{answers}</table></details>"
    )


def _field(parameter: dict[str, Any]) -> str:
    name = escape(parameter["name"])
    return (
        f'<label><code>{name}</code> <input name="{name}" data-in="{parameter["in"]}" '
        f'value="{escape(str(parameter.get("example", "")))}"> {escape(parameter["description"])}</label>'
    )


def _body(body: dict[str, Any] | None) -> str:
    if body is None:
        return ""
    options, first = [], ""
    for kind, content in body["content"].items():
        examples = content.get("examples") or {kind: {"summary": kind, "value": content.get("example", "")}}
        for example in examples.values():
            value = example["value"]
            text = value if isinstance(value, str) else json.dumps(value, indent=2)
            if not text:
                continue
            first = first or text
            options.append(
                f'<option value="{escape(kind)}" data-example="{escape(text)}">'
                f"{escape(kind)}: {escape(example.get('summary', kind))}</option>"
            )
    return f"<p><select>{''.join(options)}</select></p><textarea>{escape(first)}</textarea>"
