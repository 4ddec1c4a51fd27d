// compare.js - two photos side by side, and strips of the difference of their gates.

import {d3, divergingScale} from './charts.js';
import {byId, fillSelect, formatGate, formatSigned, formatTick, showPhoto, showTopK} from './dom.js';
import {channelOrder} from './attention.js';
import {shades, showLegend, Strips} from './strips.js';

let strips;
let shown = null; // {photos, references}

const chosen = (side) =>
  shown.photos.find((photo) => String(photo.number) === byId(`compare-${side}`).value);

export const comparedPhotos = () => shown && shown.photos.length > 1
  ? [chosen('a'), chosen('b')] : null;

function draw() {
  const first = chosen('a'), second = chosen('b');
  for (const [side, photo] of [['a', first], ['b', second]]) {
    showPhoto(byId(`compare-photo-${side}`), photo);
    showTopK(byId(`compare-topk-${side}`), photo.top_k);
  }
  const relative = shown.references?.[0].source === 'profile';
  const differences = first.excitations.map((block, i) => {
    const {std, floor} = relative ? shown.references[i] : {std: [], floor: 1};
    return Float64Array.from(block.values, (value, channel) =>
      (value - second.excitations[i].values[channel]) / Math.max(std[channel] ?? 0, floor));
  });
  const all = Float64Array.from(d3.merge(differences), Math.abs).sort();
  const most = relative ? 4 : Math.max(0.01, Number(d3.quantile(all, 0.99).toPrecision(2)));
  const scale = divergingScale(most), table = shades(scale);
  const unit = relative ? 'in standard deviations of the reference' : 'of gates';
  const rows = first.excitations.map((block, i) => {
    const difference = differences[i], other = second.excitations[i].values;
    return {
      layer: block.layer, name: block.name, paperName: block.paper_name, first: block.block === 1,
      values: difference, order: channelOrder(block, shown.references?.[i], 'reference'),
      shades: table, stat: Math.sqrt(d3.mean(difference, (d) => d * d)).toFixed(3),
      statMeaning: `root mean square difference ${unit}`,
      describe: (channel) => [`${block.name}, channel ${channel}`,
        `${first.name}: ${formatGate(block.values[channel])}`,
        `${second.name}: ${formatGate(other[channel])}`,
        `difference ${formatSigned(difference[channel], 3)}${relative ? ' std' : ''}`],
    };
  });
  const farthest = rows.reduce((a, b) => (Number(b.stat) > Number(a.stat) ? b : a));
  byId('compare-facts').textContent = `They differ most at ${farthest.name} ` +
    `(${farthest.paperName}). Right: root mean square of a block's difference, ${unit}.`;
  showLegend(byId('compare-legend'), scale, `difference ${unit}`, formatTick);
  strips.show(rows);
}

export function startCompare(onChange) {
  strips = new Strips(byId('compare-strips'), null);
  for (const side of ['a', 'b']) {
    byId(`compare-${side}`).addEventListener('change', () => {
      draw();
      onChange();
    });
  }
}

export function showCompare(photos, references) {
  shown = {photos, references};
  const enough = photos.length > 1;
  byId('compare').hidden = !enough;
  byId('compare-missing').hidden = enough;
  if (!enough) return;
  const options = photos.map((photo) => [photo.number, photo.name]);
  const a = chosen('a'), b = chosen('b'); // undefined where it was removed: then another than its like
  const first = a ?? photos.find((photo) => photo !== b);
  const second = b ?? photos.find((photo) => photo !== first);
  fillSelect(byId('compare-a'), options, first.number);
  fillSelect(byId('compare-b'), options, second.number);
  draw();
}
