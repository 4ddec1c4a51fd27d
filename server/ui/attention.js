// attention.js - the main view: a photo, its classes, and the gates of all blocks.

import {showBlock} from './block.js';
import {d3, divergingScale, gateScale} from './charts.js';
import {byId, formatCount, formatGate, formatSigned, formatTick, showPhoto, showTopK} from './dom.js';
import {shades, showLegend, Strips} from './strips.js';

export const NO_BLOCKS = 'This model is a plain ResNet: no block has squeeze-and-excitation.';
const MOST_Z = 3;

let strips;
let shown = null; // {photo, references}

// The channels of a block from left to right.
export function channelOrder(block, reference, how) {
  const order = d3.range(block.values.length);
  if (how === 'channel') return order;
  const by = reference?.mean ?? block.values;
  return order.sort((a, b) => by[a] - by[b]);
}

// Root of the mean square: the distance of a block from the usual, in standard deviations.
const rootMeanSquare = (values) => Math.sqrt(d3.mean(values, (value) => value * value));

export function describeChannel(block, reference, channel) {
  const lines = [`${block.name}, channel ${channel}`, `gate ${formatGate(block.values[channel])}`];
  if (reference) {
    lines.push(`reference ${formatGate(reference.mean[channel])} ± ` +
      formatGate(reference.std[channel]), `z = ${formatSigned(reference.z[channel])}`);
  }
  return lines;
}

// What to draw of a photo: rows for Strips, and the scale. Also for the picture to download.
export function attentionRows(photo, references, colour, how) {
  const relative = colour === 'z' && references !== null;
  const scale = relative ? divergingScale(MOST_Z) : gateScale();
  const table = shades(scale);
  const rows = photo.excitations.map((block, i) => {
    const reference = references?.[i] ?? null;
    const values = relative ? reference.z : block.values;
    return {
      layer: block.layer, name: block.name, paperName: block.paper_name, first: block.block === 1,
      values, order: channelOrder(block, reference, how), shades: table,
      stat: relative ? rootMeanSquare(values).toFixed(2) : formatGate(d3.mean(values)),
      statMeaning: relative ? 'standard deviations from the reference' : 'mean gate',
      describe: (channel) => describeChannel(block, reference, channel),
    };
  });
  return {rows, scale, relative, format: relative ? formatTick : d3.format('.1f'),
  label: relative ? 'z: standard deviations from the reference' : 'gate'};
}

function describeReference(photo, references) {
  if (photo.excitations.length === 0) return NO_BLOCKS;
  if (references === null) {
    return 'No reference yet: it takes two photos at least. Colours show the gates themselves.';
  }
  const {images, source} = references[0];
  return source === 'profile'
    ? `Reference: the model's profile over ${formatCount(images)} photos. ` +
      'Right: distance of the block from it, as root mean square of z.'
    : `Reference: running mean of the ${formatCount(images)} photos served since start. ` +
      'Right: distance of the block from it, as root mean square of z.';
}

function draw() {
  const {photo, references} = shown;
  const {rows, scale, label, format} =
    attentionRows(photo, references, byId('colour').value, byId('order').value);
  byId('colour').disabled = references === null;
  byId('reference').textContent = describeReference(photo, references);
  showLegend(byId('legend'), scale, label, format);
  strips.show(rows);
}

export function startAttention(model) {
  strips = new Strips(byId('strips'), (row, container) =>
    showBlock(container, model, shown.photo, row, shown.references?.[row.layer] ?? null));
  for (const id of ['colour', 'order']) byId(id).addEventListener('change', draw);
}

export function showAttention(photo, references) {
  shown = {photo, references};
  showPhoto(byId('photo'), photo);
  showTopK(byId('topk'), photo.top_k);
  const {timing} = photo;
  byId('facts').textContent = `${photo.format.toUpperCase()}, ${photo.width} × ${photo.height}. ` +
    `Decoded in ${timing.decode.toFixed(1)} ms, inferred in ${timing.inference.toFixed(1)} ms, ` +
    `${timing.total.toFixed(1)} ms in all, batch of ${photo.batchSize}.`;
  draw();
}

export const attentionChoice = () => ({colour: byId('colour').value, order: byId('order').value});
