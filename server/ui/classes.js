// classes.js - mean gates of each predicted class, as in figure 7 of the paper: from the
// model's profile, from what was served since start, or else from the photos on this page.

import * as api from './api.js';
import {bin, chart, classColour, classDash, d3, key, MOST_CLASSES} from './charts.js';
import {byId, el, formatCount} from './dom.js';

const POINTS = 160;

let model;
let shown = null; // {photos, references}
let chosenLabels = new Set();
let drawing = 0;

// The last block of every stage and those of the last stage: where the paper looks.
export function chosenBlocks(blocks) {
  const last = d3.max(blocks, (block) => block.stage);
  return blocks.filter((block, i) => block.stage === last || blocks[i + 1]?.stage !== block.stage);
}

function labelsOfPhotos() {
  return [...new Set(shown.photos.map((photo) => photo.top_k[0].label))];
}

// Mean over the page's own photos of that class.
function ownStatistics(layer, label) {
  const vectors = shown.photos.filter((photo) => photo.top_k[0].label === label)
    .map((photo) => photo.excitations[layer].values);
  return vectors.length === 0 ? null
    : {images: vectors.length, mean: d3.transpose(vectors).map((gates) => d3.mean(gates)),
      source: 'on this page'};
}

async function statistics(layer, label) {
  return await api.classStatistics(model, layer, label).catch(() => null) ?? ownStatistics(layer, label);
}

function drawBlock(block, classes) {
  const reference = shown.references?.[block.layer];
  const by = reference?.mean ?? classes[0].mean;
  const order = d3.range(block.channels).sort((a, b) => by[a] - by[b]);
  const last = block.channels - 1;
  return el('div', {}, el('h3', {}, `${block.paper_name} `, el('small', {}, block.name)), chart({
    title: `Mean gates of ${classes.map((c) => c.label).join(', ')} at ${block.name}`,
    x: d3.scaleLinear().domain([0, last]), y: d3.scaleLinear().domain([0, 1]),
    xLabel: 'channels, by the reference’s mean', yLabel: 'mean gate', width: 300, height: 190,
    draw(plot, x, y) {
      for (const {mean, index} of classes) {
        const points = bin(order.map((channel) => mean[channel]), POINTS);
        const line = d3.line().x((_, i) => x(i * last / Math.max(1, points.length - 1))).y((v) => y(v));
        plot.append('path').attr('class', 'curve').style('stroke', classColour(index))
          .style('stroke-dasharray', classDash(index)).attr('d', line(points));
      }
    },
  }));
}

async function draw() {
  const turn = ++drawing, labels = [...chosenLabels], charts = [], counts = new Map();
  const sources = new Set();
  for (const block of chosenBlocks(model.blocks)) {
    const classes = (await Promise.all(labels.map(async (label, index) => {
      const known = await statistics(block.layer, label);
      return known && {label, index, ...known};
    }))).filter(Boolean);
    if (turn !== drawing) return; // another choice came meanwhile
    for (const {label, images, source} of classes) {
      counts.set(label, images);
      sources.add(source);
    }
    if (classes.length > 0) charts.push(drawBlock(block, classes));
  }
  const entries = labels.map((label, index) => ({colour: classColour(index), dash: classDash(index),
    text: `${label} (${formatCount(counts.get(label) ?? 0)})`}));
  byId('classes-charts').replaceChildren(key(entries), ...charts);
  byId('classes-facts').textContent =
    `In brackets: photos of the class that the mean is over, ${[...sources].join(', or ')}. ` +
    'Channels stand in the order of the reference’s mean, and a few share a point.';
}

function showChoices(labels) {
  byId('classes-choices').replaceChildren(...labels.map((label) => {
    const box = el('input', {type: 'checkbox', checked: chosenLabels.has(label)});
    box.addEventListener('change', () => {
      if (box.checked) chosenLabels.add(label);
      else chosenLabels.delete(label);
      if (chosenLabels.size > MOST_CLASSES) {
        box.checked = false;
        chosenLabels.delete(label);
      }
      draw();
    });
    return el('label', {class: 'choice'}, box, ` ${label}`);
  }));
}

export function startClasses(loaded) {
  model = loaded;
}

export async function showClasses(photos, references) {
  shown = {photos, references};
  const seen = await api.seenClasses(model).catch(() => null);
  const labels = [...new Set([...labelsOfPhotos(), ...(seen ?? [])])].slice(0, 24);
  chosenLabels = new Set([...chosenLabels].filter((label) => labels.includes(label)));
  for (const label of labels) {
    if (chosenLabels.size < MOST_CLASSES) chosenLabels.add(label);
  }
  showChoices(labels);
  await draw();
}
