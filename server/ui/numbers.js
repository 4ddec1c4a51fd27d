// numbers.js - every number as a table, and as files: CSV, NPY, PNG, JSON.

import {attentionChoice, attentionRows} from './attention.js';
import {d3, isDark} from './charts.js';
import {byId, download, el, fillSelect, formatPercent, formatSigned} from './dom.js';
import {paintLine, widthScale} from './strips.js';

let shown = null; // {photo, references}

const chosenBlock = () => shown.photo.excitations[Number(byId('numbers-block').value)];
const stem = () => shown.photo.name.replace(/\.[^.]*$/, '').replace(/[^\w.-]+/g, '_') || 'photo';

function draw() {
  const block = chosenBlock(), reference = shown.references?.[block.layer];
  const heads = ['Channel', 'Gate', ...(reference ? ['Reference mean', 'Reference std', 'z'] : [])];
  const rows = Array.from(block.values, (value, channel) => el('tr', {},
    el('th', {scope: 'row'}, String(channel)), el('td', {}, String(Number(value.toPrecision(5)))),
    ...(reference ? [el('td', {}, reference.mean[channel].toPrecision(4)),
      el('td', {}, reference.std[channel].toPrecision(4)),
      el('td', {}, formatSigned(reference.z[channel]))] : [])));
  byId('numbers-scroll').replaceChildren(el('table', {},
    el('caption', {}, `${block.name} (${block.paper_name}) of ${shown.photo.name}`),
    el('thead', {}, el('tr', {}, ...heads.map((head) => el('th', {scope: 'col'}, head)))),
    el('tbody', {}, ...rows)));
  byId('numbers-facts').textContent = `${block.channels} channels; mean ${block.mean}, ` +
    `std ${block.std}, least ${block.min}, most ${block.max}. Files hold all blocks of the photo.`;
}

// ---- CSV ---------------------------------------------------------------------------------------

// A text in quotes; one that a spreadsheet would take for a formula is made a text.
const quote = (text) => `"${String(text).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;

function csv() {
  const lines = ['layer,name,paper_name,channel,gate,reference_mean,reference_std,z'];
  for (const block of shown.photo.excitations) {
    const reference = shown.references?.[block.layer];
    block.values.forEach((value, channel) => lines.push([block.layer, quote(block.name),
      quote(block.paper_name), channel, Number(value.toPrecision(5)),
      ...(reference ? [reference.mean[channel], reference.std[channel],
        Number(reference.z[channel].toPrecision(5))] : ['', '', ''])].join(',')));
  }
  return `${lines.join('\r\n')}\r\n`;
}

// ---- NPY: format 1.0, little-endian float32, all gates in the order of the blocks ----------------

function npy() {
  const count = d3.sum(shown.photo.excitations, (block) => block.values.length);
  let header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${count},), }`;
  header = `${header.padEnd(64 * Math.ceil((header.length + 11) / 64) - 11)}\n`;
  const buffer = new ArrayBuffer(10 + header.length + 4 * count), view = new DataView(buffer);
  new Uint8Array(buffer).set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
  view.setUint16(8, header.length, true);
  for (let i = 0; i < header.length; i++) view.setUint8(10 + i, header.charCodeAt(i));
  let at = 10 + header.length;
  for (const block of shown.photo.excitations) {
    for (const value of block.values) {
      view.setFloat32(at, value, true);
      at += 4;
    }
  }
  return buffer;
}

// ---- PNG: the strips as they are shown ---------------------------------------------------------

function drawPicture() {
  const {photo, references} = shown, {colour, order} = attentionChoice();
  const {rows, label, scale} = attentionRows(photo, references, colour, order);
  const unit = 2, width = 1200, line = 24, top = 76, left = 190, right = 80;
  const canvas = el('canvas', {width: unit * width, height: unit * (top + line * rows.length + 50)});
  const context = canvas.getContext('2d');
  const font = (size, weight = 'normal') => `${weight} ${size}px system-ui, sans-serif`;
  const text = (content, x, y, style) => {
    context.font = style;
    context.fillText(content, x, y);
  };
  context.scale(unit, unit);
  context.fillStyle = isDark() ? '#1a1d23' : '#ffffff';
  context.fillRect(0, 0, width, canvas.height);
  context.fillStyle = isDark() ? '#e8e9ec' : '#1b1d21';
  text(photo.name, 20, 30, font(18, 'bold'));
  text(photo.top_k.map((entry) => `${entry.label} ${formatPercent(entry.probability)}`).join('   '),
    20, 54, font(14));
  const share = widthScale(d3.max(rows, (row) => row.values.length), width);
  rows.forEach((row, i) => {
    const y = top + i * line;
    text(`${row.name}  ${row.paperName}`, 20, y + 15, font(13));
    text(row.stat, width - right + 14, y + 15, font(13));
    const bar = el('canvas', {height: 1,
      width: Math.round(unit * (width - left - right) * share(row.values.length))});
    bar.getContext('2d').putImageData(paintLine(row.values, row.order, row.shades, bar.width), 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(bar, left, y, bar.width / unit, line - 5);
  });
  const y = top + rows.length * line + 12, [low, high] = d3.extent(scale.domain());
  for (let i = 0; i < 200; i++) {
    context.fillStyle = scale(low + (high - low) * i / 199);
    context.fillRect(left + i, y, 1.5, 12);
  }
  context.fillStyle = isDark() ? '#e8e9ec' : '#1b1d21';
  text(`${low} to ${high}: ${label}`, left + 212, y + 11, font(13));
  return canvas;
}

const savers = {
  csv: () => download(`${stem()}-gates.csv`, csv(), 'text/csv'),
  npy: () => download(`${stem()}-gates.npy`, npy(), 'application/octet-stream'),
  png: () => drawPicture().toBlob((blob) => download(`${stem()}-gates.png`, blob)),
  json: () => download(`${stem()}-gates.json`, JSON.stringify(shown.photo.document, (name, value) =>
    value instanceof Float32Array ? Array.from(value, (v) => Number(v.toPrecision(5))) : value),
  'application/json'),
};

export function startNumbers() {
  byId('numbers-block').addEventListener('change', draw);
  for (const [kind, save] of Object.entries(savers)) {
    byId(`save-${kind}`).addEventListener('click', save);
  }
}

export function showNumbers(photo, references) {
  shown = {photo, references};
  fillSelect(byId('numbers-block'), photo.excitations.map((block, i) =>
    [i, `${block.name} (${block.paper_name}), ${block.channels} channels`]));
  draw();
}
