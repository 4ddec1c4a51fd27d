// dom.js - small helpers of the page: elements, numbers, downloads, the tooltip.
// Text goes in as text nodes alone: a label or a file name can never become markup.

export const byId = (id) => document.getElementById(id);

const svgTags = new Set(['svg', 'path', 'g', 'rect', 'line', 'circle', 'text', 'title']);

// An element with properties (class, attributes; on… are listeners) and children.
export function el(tag, properties = {}, ...children) {
  const node = svgTags.has(tag) ? document.createElementNS('http://www.w3.org/2000/svg', tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

// Fills a <select>; options are [value, text]; keeps the choice where it still exists.
export function fillSelect(select, options, preferred = select.value) {
  select.replaceChildren(...options.map(([value, text]) => el('option', {value}, text)));
  const values = options.map(([value]) => String(value));
  if (values.includes(String(preferred))) select.value = preferred;
}

export const formatPercent = (p) =>
  p >= 0.1 ? `${(100 * p).toFixed(1)} %` : `${(100 * p).toPrecision(2)} %`;
export const formatGate = (value) => value.toPrecision(3);
export const formatSigned = (value, digits = 2) =>
  `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`;
export const formatTick = (value) => (value > 0 ? `+${value}` : `${value}`.replace('-', '−'));
export const formatCount = (value) => value.toLocaleString('en-US');

// The photo as a picture, or its name where the browser cannot show the format.
export function showPhoto(figure, photo) {
  const image = el('img', {src: photo.url, alt: `Photo ${photo.name}`});
  image.addEventListener('error', () =>
    image.replaceWith(el('p', {class: 'unshown'}, 'This browser shows no such format.')));
  figure.replaceChildren(image, el('figcaption', {}, photo.name));
}

// Labels with their probabilities as bars.
export function showTopK(list, entries) {
  list.replaceChildren(...entries.map((entry) => {
    const bar = el('span', {class: 'bar'});
    bar.style.setProperty('--share', entry.probability);
    return el('li', {}, el('span', {class: 'label'}, entry.label),
      el('span', {class: 'value'}, formatPercent(entry.probability)), bar);
  }));
}

export function download(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], {type}));
  el('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// Copies text; where the page is not served securely there is no clipboard, but a selection.
export async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand('copy');
  }
}

// ---- the tooltip: one for the page, beside the pointer or an element's edge ----------------------

export function showTooltip(lines, x, y) {
  const tip = byId('tooltip');
  tip.replaceChildren(...lines.map((line) => el('div', {}, line)));
  tip.hidden = false;
  const {width, height} = tip.getBoundingClientRect();
  const left = Math.max(4, Math.min(x + 14, innerWidth - width - 8));
  const top = y + 20 + height < innerHeight ? y + 20 : y - height - 12;
  tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}

export function hideTooltip() {
  byId('tooltip').hidden = true;
}

// ---- what a screen reader hears, and problems ------------------------------------------------

export function announce(text) {
  byId('status').textContent = text;
}

export function notify(text) {
  byId('notice').textContent = text ?? '';
  byId('notice').hidden = !text;
}
