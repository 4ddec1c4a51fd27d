// block.js - one block in detail: how its gates are distributed, how they run beside the
// reference and the means of the likeliest classes, and what the prediction loses without it.

import * as api from './api.js';
import {bin, chart, classColour, classDash, d3, key} from './charts.js';
import {el, formatGate, formatPercent, formatSigned} from './dom.js';

const BINS = 40;
const POINTS = 256; // of a curve
const CLASSES = 3; // whose means are drawn
const SIZE = {width: 290, height: 190};
const MODES = [['identity', 'their own mean'], ['mean', 'the reference’s means'], ['zero', 'zero']];

let mode = 'identity';

function histogram(row, gates, reference) {
  const edges = d3.range(BINS).map((i) => i / BINS);
  const bins = d3.bin().domain([0, 1]).thresholds(edges);
  const share = (values) => bins(values).map((b) => ({x0: b.x0, x1: b.x1, y: b.length / gates.length}));
  const own = share(Array.from(gates)), usual = reference && share(Array.from(reference.mean));
  const most = d3.max([...own, ...(usual ?? [])], (b) => b.y);
  return chart({...SIZE,
    title: `Histogram of the ${gates.length} gates of ${row.name}`,
    x: d3.scaleLinear().domain([0, 1]), y: d3.scaleLinear().domain([0, most]).nice(),
    xLabel: 'gate', yLabel: 'share of channels', yFormat: '.0%',
    draw(plot, x, y) {
      plot.selectAll('rect').data(own).enter().append('rect').attr('class', 'bin')
        .attr('x', (b) => x(b.x0) + 0.5).attr('width', (b) => Math.max(0, x(b.x1) - x(b.x0) - 1))
        .attr('y', (b) => y(b.y)).attr('height', (b) => y(0) - y(b.y));
      if (usual) {
        plot.append('path').attr('class', 'curve reference').attr('d',
          d3.line().x((b) => x((b.x0 + b.x1) / 2)).y((b) => y(b.y)).curve(d3.curveStep)(usual));
      }
    },
  });
}

// Gates by the reference's order, means of a few channels where there are more than points.
function curves(row, gates, reference, classMeans) {
  const sorted = (values) => bin(row.order.map((channel) => values[channel]), POINTS);
  const own = sorted(gates), last = gates.length - 1;
  return chart({...SIZE,
    title: `Gates of ${row.name} beside the reference`,
    x: d3.scaleLinear().domain([0, last]), y: d3.scaleLinear().domain([0, 1]),
    xLabel: 'channels, as in the strip', yLabel: 'gate',
    draw(plot, x, y) {
      const place = (_, i) => x(i * last / Math.max(1, own.length - 1));
      const line = d3.line().x(place).y((value) => y(value));
      if (reference) {
        const mean = sorted(reference.mean), std = sorted(reference.std);
        const clamp = (value) => Math.min(1, Math.max(0, value));
        plot.append('path').attr('class', 'band').attr('d', d3.area().x(place)
          .y0((m, i) => y(clamp(m - std[i]))).y1((m, i) => y(clamp(m + std[i])))(mean));
        plot.append('path').attr('class', 'curve reference').attr('d', line(mean));
      }
      for (const {mean, colour, dash} of classMeans) {
        plot.append('path').attr('class', 'curve class').style('stroke', colour)
          .style('stroke-dasharray', dash).attr('d', line(sorted(mean)));
      }
      plot.append('path').attr('class', 'curve own').attr('d', line(own));
    },
  });
}

function ablationChart(effects, layer, label, choose) {
  const most = d3.max(effects, (e) => Math.abs(e.change)) || 0.01;
  const names = effects.map((e) => e.name);
  const shortName = (name) => name.replace('layer', '');
  return chart({...SIZE,
    title: `Change of the probability of ${label} without each block's attention`,
    x: d3.scaleBand().domain(names).padding(0.2),
    y: d3.scaleLinear().domain([-most, most]).nice(),
    xLabel: 'block', yLabel: 'change', yFormat: '+.0%',
    draw(plot, x, y) {
      plot.append('line').attr('class', 'zero').attr('x1', x.range()[0]).attr('x2', x.range()[1])
        .attr('y1', y(0)).attr('y2', y(0));
      plot.selectAll('rect').data(effects).enter().append('rect')
        .attr('class', (e) => `effect${e.layer === layer ? ' chosen' : ''}`)
        .attr('x', (e) => x(e.name)).attr('width', x.bandwidth())
        .attr('y', (e) => Math.min(y(0), y(e.change)))
        .attr('height', (e) => Math.max(1, Math.abs(y(e.change) - y(0))))
        .append('title').text((e) => `${e.name}: ${formatSigned(100 * e.change)} points`);
      d3.select(plot.node().parentNode).selectAll('.axis .tick text').filter((d) =>
        typeof d === 'string').text(shortName).attr('class', 'small')
        .attr('transform', 'rotate(-90)').attr('text-anchor', 'end').attr('x', -6).attr('y', 0)
        .attr('dy', '0.32em');
    },
  });
}

// Mean gates of the photo's likeliest classes that have any.
async function fetchClassMeans(model, photo, layer) {
  const found = await Promise.all(photo.top_k.slice(0, CLASSES).map(async ({label}, i) => {
    const statistics = await api.classStatistics(model, layer, label).catch(() => null);
    return statistics && {...statistics, label, colour: classColour(i + 1), dash: classDash(i + 1)};
  }));
  return found.filter(Boolean);
}

async function showAblation(panel, photo, row, profiled) {
  const modes = MODES.filter(([value]) => value !== 'mean' || profiled);
  if (!modes.some(([value]) => value === mode)) mode = 'identity';
  const choice = el('select', {}, ...modes.map(([value, text]) => el('option', {value}, text)));
  choice.value = mode;
  choice.addEventListener('change', () => {
    mode = choice.value;
    showAblation(panel, photo, row, profiled);
  });
  const body = el('div', {}, el('p', {class: 'facts'}, 'Running the network without each block’s attention…'));
  panel.replaceChildren(el('h3', {}, 'Without its attention'),
    el('label', {}, 'Gates replaced by ', choice), body);
  try {
    photo.ablations ??= {};
    photo.ablations[mode] ??= api.explain(photo, mode);
    const explained = await photo.ablations[mode];
    if (explained === null) {
      body.replaceChildren(el('p', {class: 'facts'}, 'This server offers no ablation of that kind.'));
      return;
    }
    const label = explained.label, own = explained.blocks.find((b) => b.layer === row.layer);
    body.replaceChildren(ablationChart(explained.blocks, row.layer, label),
      el('p', {class: 'facts'}, `${label}: ${formatPercent(explained.probability)} → ` +
        `${formatPercent(explained.probability + own.change)} ` +
        (own.label === label ? 'without this block; still first.' : `without this block; then ${own.label} is first.`)));
  } catch (problem) {
    photo.ablations[mode] = undefined;
    body.replaceChildren(el('p', {class: 'facts'}, problem.message));
  }
}

function extremes(row, gates, reference) {
  const by = reference ? reference.z : gates;
  const far = d3.range(gates.length).sort((a, b) => Math.abs(by[b]) - Math.abs(by[a])).slice(0, 6);
  return el('p', {class: 'facts'}, reference ? 'Farthest from the reference: ' : 'Largest gates: ',
    far.map((channel) => `${channel} (${formatGate(gates[channel])}` +
      `${reference ? `, z ${formatSigned(by[channel], 1)}` : ''})`).join(' · '));
}

export async function showBlock(container, model, photo, row, reference) {
  const block = photo.excitations.find((b) => b.layer === row.layer);
  const facts = model.blocks[row.layer];
  const ablation = el('div', {class: 'ablation'});
  const curve = el('div');
  container.replaceChildren(
    el('p', {class: 'facts'}, `${row.paperName}: ${block.channels} channels, squeezed to ` +
      `${facts.reduced} (reduction ${facts.reduction}). Mean gate ${formatGate(block.mean)}, ` +
      `${formatPercent(block.saturated_low)} below 0.01, ` +
      `${formatPercent(block.saturated_high)} above 0.99.`),
    el('div', {class: 'multiples'},
      el('div', {}, el('h3', {}, 'Histogram'), histogram(row, block.values, reference),
        key([{text: 'this photo', className: 'curve own'},
          ...(reference ? [{text: 'reference', className: 'curve reference'}] : [])])),
      curve, ablation),
    extremes(row, block.values, reference));
  const fillCurve = (classMeans) => curve.replaceChildren(el('h3', {}, 'Curve'),
    curves(row, block.values, reference, classMeans),
    key([{text: 'this photo', className: 'curve own'},
      ...(reference ? [{text: 'reference ± std', className: 'curve reference'}] : []),
      ...classMeans.map(({label, images, colour, dash}) =>
        ({text: `mean of ${label} (${images} photos)`, colour, dash}))]));
  fillCurve([]);
  showAblation(ablation, photo, row, reference?.source === 'profile');
  fillCurve(await fetchClassMeans(model, photo, row.layer));
}
