"""What a page lacks for people who see little or nothing.

Contrast below WCAG's AA, controls without a name, landmarks, ids and an order of focus that lead astray.
"""

from typing import Any

_SCRIPT = """() => {
  const channel = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 };
  const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const read = text => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith('color(') ? [n[0] * 255, n[1] * 255, n[2] * 255, n[3] ?? 1] : [n[0], n[1], n[2], n[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const ground = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(read(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.data.trim() || element.closest('.sr, .skip, script') || !element.checkVisibility()) continue;
    const behind = ground(element), front = over(read(style.color), behind);
    const [a, b] = [light(front), light(behind)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)}:1 ${node.data.trim().slice(0, 40)}`);
  }
  for (const each of document.querySelectorAll('a, button, input:not([type=hidden]), summary, svg[role=img], nav')) {
    const said = each.getAttribute('aria-label') || each.innerText?.trim() || each.labels?.[0]?.innerText;
    if (!said) found.push(`no name: ${each.outerHTML.slice(0, 80)}`);
  }
  const once = (what, selector) => {
    const count = document.querySelectorAll(selector).length;
    if (count !== 1) found.push(`${count} ${what}`);
  };
  once('main', 'main'), once('banner', 'body > header'), once('footer', 'body > footer'), once('h1', 'h1');
  if (!document.documentElement.lang || !document.title) found.push('no language or no title');
  const ids = [...document.querySelectorAll('[id]')].map(each => each.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`id twice: ${id}`);
  for (const each of document.querySelectorAll('[aria-labelledby], [aria-describedby]')) {
    const id = each.getAttribute('aria-labelledby') || each.getAttribute('aria-describedby');
    if (!document.getElementById(id)) found.push(`nothing has the id ${id}`);
  }
  for (const each of document.querySelectorAll('[tabindex]')) if (each.tabIndex > 0) found.push('an order of its own');
  for (const each of document.querySelectorAll('table')) if (!each.querySelector('th')) found.push('table without th');
  const levels = [...document.querySelectorAll('h1, h2, h3')].map(each => +each.tagName[1]);
  if (levels.some((level, i) => level > (levels[i - 1] ?? 0) + 1)) found.push(`headings skip a level: ${levels}`);
  return found;
}"""


def unreadable(page: Any) -> list[str]:
    """Every text and control that is hard to perceive, in words; empty when all is well."""
    found: list[str] = page.evaluate(_SCRIPT)
    return found
