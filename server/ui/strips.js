// strips.js - strips of channels, one a block: a canvas a row, wide as the block has channels.
// Where several channels share a pixel, the one farthest from the scale's middle is shown, so that
// no outlier is averaged away. A row is a button: pointer or arrow keys read off single channels.

import {d3} from './charts.js';
import {announce, el, hideTooltip, showTooltip} from './dom.js';

const SHADES = 255;
const NARROW = 520; // pixels of page below which widths are square roots, or short blocks vanish

// Colours of a scale as bytes, [SHADES + 1][3], and the domain they span.
export function shades(scale) {
  const [low, high] = d3.extent(scale.domain());
  const bytes = new Uint8ClampedArray(3 * (SHADES + 1));
  for (let i = 0; i <= SHADES; i++) {
    const {r, g, b} = d3.rgb(scale(low + (high - low) * i / SHADES));
    bytes.set([r, g, b], 3 * i);
  }
  return {bytes, low, high};
}

// One line of pixels: values in that order, squeezed or stretched to the width.
export function paintLine(values, order, {bytes, low, high}, width) {
  const image = new ImageData(width, 1), middle = (low + high) / 2, count = order.length;
  for (let x = 0; x < width; x++) {
    const first = Math.floor(x * count / width);
    const last = Math.max(first + 1, Math.floor((x + 1) * count / width));
    let value = values[order[first]];
    for (let i = first + 1; i < last; i++)
      if (Math.abs(values[order[i]] - middle) > Math.abs(value - middle)) value = values[order[i]];
    const shade = Math.round(SHADES * Math.min(1, Math.max(0, (value - low) / (high - low))));
    image.data.set(bytes.subarray(3 * shade, 3 * shade + 3), 4 * x);
    image.data[4 * x + 3] = 255;
  }
  return image;
}

// A block's share of the full width.
export function widthScale(most, room) {
  return (room < NARROW ? d3.scaleSqrt() : d3.scaleLinear()).domain([0, most]).range([0, 1]);
}

// A bar of the scale's colours over an axis.
export function showLegend(container, scale, label, format) {
  const [low, high] = d3.extent(scale.domain()), width = 260, steps = 65;
  const x = d3.scaleLinear().domain([low, high]).range([10, width - 10]);
  const svg = d3.create('svg').attr('viewBox', `0 0 ${width} 34`).attr('role', 'img')
    .attr('aria-label', `${label}: colours from ${format(low)} to ${format(high)}`);
  svg.selectAll('rect').data(d3.range(steps)).enter().append('rect')
    .attr('x', (i) => 10 + i * (width - 20) / steps).attr('width', (width - 20) / steps + 0.6)
    .attr('y', 0).attr('height', 12)
    .attr('fill', (i) => scale(low + (high - low) * i / (steps - 1)));
  svg.append('g').attr('class', 'axis').attr('transform', 'translate(0,12)')
    .call(d3.axisBottom(x).ticks(7).tickFormat(format).tickSize(4));
  container.replaceChildren(el('span', {}, label), svg.node());
}

export class Strips {
  // open(row, container) fills a row's detail when it is opened; without it rows do not open.
  constructor(list, open) {
    this.list = list;
    this.open = open;
    this.rows = [];
    this.parts = []; // the elements of each row
    this.opened = null; // index of the open row
    new ResizeObserver(() => this.paint()).observe(list);
  }

  // rows: [{layer, name, paperName, values, order, shades, stat, describe(channel) -> lines}],
  // values and order of [channels]; order lists channels from left to right.
  show(rows) {
    this.most = d3.max(rows, (row) => row.values.length);
    if (this.parts.length !== rows.length) {
      this.parts = rows.map((row, i) => this.makeParts(row, i));
      this.list.replaceChildren(...this.parts.map((parts) => parts.item));
    }
    rows = rows.map((row, i) => ({...row, parts: this.parts[i], at: -1}));
    for (const {parts, ...row} of rows) {
      parts.stat.textContent = row.stat;
      parts.button.setAttribute('aria-label', `${row.name} ${row.paperName} ${row.stat}: ` +
        `${row.values.length} channels, ${row.stat} ${row.statMeaning}`);
    }
    this.rows = rows;
    this.paint();
    if (this.opened !== null) this.fill(this.opened);
  }

  makeParts(row, i) {
    const canvas = el('canvas', {'aria-hidden': 'true', height: 1});
    const mark = el('span', {class: 'mark', hidden: true});
    const stat = el('span', {class: 'stat'});
    const detail = el('div', {class: 'detail', id: `${this.list.id}-${i}`, hidden: true});
    const button = el('button', {type: 'button', class: 'strip',
      ...(this.open ? {'aria-expanded': 'false', 'aria-controls': detail.id} : {}),
      onclick: () => this.toggle(i), onkeydown: (event) => this.onKey(event, i),
      onblur: () => this.leave(i)},
    el('span', {class: 'name'}, row.name, el('small', {}, row.paperName)),
    el('span', {class: 'track'}, canvas, mark), stat);
    canvas.addEventListener('pointermove', (event) => this.onPointer(event, i));
    canvas.addEventListener('pointerleave', () => this.leave(i));
    const item = el('li', {class: row.first ? 'first' : null}, button, detail);
    return {item, canvas, mark, stat, detail, button};
  }

  paint() {
    if (!this.rows.length || !this.list.clientWidth) return;
    const width = widthScale(this.most, document.documentElement.clientWidth);
    for (const row of this.rows) {
      const {canvas} = row.parts, share = width(row.values.length);
      canvas.style.width = `${100 * share}%`;
      canvas.width = Math.max(1, Math.round(canvas.getBoundingClientRect().width * devicePixelRatio));
      canvas.getContext('2d').putImageData(
        paintLine(row.values, row.order, row.shades, canvas.width), 0, 0);
    }
  }

  // ---- opening a row ---------------------------------------------------------------------------

  toggle(i) {
    if (!this.open) return;
    const before = this.opened;
    this.opened = before === i ? null : i;
    for (const [j, row] of this.rows.entries()) {
      row.parts.detail.hidden = j !== this.opened;
      row.parts.button.setAttribute('aria-expanded', String(j === this.opened));
    }
    if (this.opened !== null) this.fill(i);
  }

  fill(i) {
    this.open(this.rows[i], this.rows[i].parts.detail);
  }

  // ---- reading off a channel ---------------------------------------------------------------------

  point(i, at, announced) {
    const row = this.rows[i], {canvas, mark} = row.parts, count = row.order.length;
    row.at = Math.max(0, Math.min(count - 1, at));
    const box = canvas.getBoundingClientRect(), share = (row.at + 0.5) / count;
    mark.hidden = false;
    mark.style.left = `${share * box.width}px`;
    const lines = row.describe(row.order[row.at]);
    showTooltip(lines, box.left + share * box.width, box.top);
    if (announced) announce(lines.join(', '));
  }

  leave(i) {
    this.rows[i].parts.mark.hidden = true;
    this.rows[i].at = -1;
    hideTooltip();
  }

  onPointer(event, i) {
    const box = event.target.getBoundingClientRect(), count = this.rows[i].order.length;
    this.point(i, Math.floor((event.clientX - box.left) / box.width * count), false);
  }

  onKey(event, i) {
    const row = this.rows[i], page = Math.ceil(row.order.length / 20);
    const steps = {ArrowRight: 1, ArrowLeft: -1, PageDown: page, PageUp: -page,
      Home: -Infinity, End: Infinity};
    const rows = {ArrowDown: 1, ArrowUp: -1};
    if (event.key in steps) {
      const from = row.at < 0 && steps[event.key] > 0 ? -1 : row.at;
      this.point(i, from + steps[event.key], true);
    } else if (event.key in rows) {
      this.rows[i + rows[event.key]]?.parts.button.focus();
    } else if (event.key === 'Escape') {
      this.leave(i);
    } else {
      return;
    }
    event.preventDefault();
  }
}
