// live.js - what the server does now: rates and times between two readings of /metrics.
// Reading pauses while nobody looks. The page's own readings are not counted as requests.

import {fetchMetrics} from './api.js';
import {d3} from './charts.js';
import {byId, el} from './dom.js';

const EVERY_MS = 2000;
const KEPT = 60; // readings in a sparkline

const history = new Map(); // tile -> values
const tiles = new Map();
let before = null, paused = false, reading = false, timer = null;

const number = (digits) => (value) => value.toFixed(digits);

function sumOf(series, name, without = '\u0000') {
  let sum = 0;
  for (const [key, value] of series) {
    if ((key === name || key.startsWith(`${name}{`)) && !key.includes(without)) sum += value;
  }
  return sum;
}

// Mean of a histogram's observations since the reading before; null without any.
function meanSince(name, now, then, labels = '') {
  const of = (series, part) => series.get(`${name}_${part}${labels}`) ?? 0;
  const count = of(now, 'count') - of(then, 'count');
  return count > 0 ? (of(now, 'sum') - of(then, 'sum')) / count : null;
}

function largest(series, name) {
  let found = null;
  for (const [key, value] of series) {
    if (key.startsWith(`${name}{`) && (found === null || value > found.value)) {
      found = {value, block: key.match(/block="([^"]*)"/)?.[1] ?? ''};
    }
  }
  return found;
}

// [{name, value or null, format, unit, note}]; fleeting: without a value the last one says nothing.
function measure(now, then, seconds) {
  const requests = (series) => sumOf(series, 'senetd_http_requests_total', 'route="/metrics"');
  const images = (series) => series.get('senetd_inferences_total') ?? 0;
  const stage = (name) => 1000 * (meanSince('senetd_stage_duration_seconds', now, then,
    `{stage="${name}"}`) ?? 0);
  const queue = stage('queue'), inference = stage('infer');
  const latency = stage('decode') + stage('preprocess') + queue + inference;
  const batch = meanSince('senetd_batch_size', now, then);
  const drift = largest(now, 'senetd_se_drift');
  const depth = sumOf(now, 'senetd_queue_depth'), room = sumOf(now, 'senetd_queue_capacity');
  return [
    {name: 'Requests', value: (requests(now) - requests(then)) / seconds, format: number(1), unit: '/s'},
    {name: 'Photos', value: (images(now) - images(then)) / seconds, format: number(1), unit: '/s'},
    {name: 'Latency', value: latency || null, format: number(1), unit: 'ms',
      note: latency ? `inference ${inference.toFixed(1)}, waited ${queue.toFixed(1)}` : ''},
    {name: 'Batch', value: batch, format: number(1), unit: 'photos'},
    {name: 'Queue', value: depth, format: number(0), unit: `of ${room}`,
      note: `${sumOf(now, 'senetd_workers_busy')} of ${sumOf(now, 'senetd_workers')} workers busy`},
    ...(drift || tiles.has('Drift') ? [{name: 'Drift', value: drift?.value ?? null,
      format: number(2), unit: '', fleeting: true,
      note: drift ? `largest, at ${drift.block}` : 'too few photos yet'}] : []),
  ];
}

function sparkline(values) {
  const width = 120, height = 28, known = values.filter((value) => value !== null);
  const x = d3.scaleLinear().domain([0, KEPT - 1]).range([1, width - 1]);
  const y = d3.scaleLinear().domain([0, d3.max(known) || 1]).range([height - 2, 2]);
  const place = (_, i) => x(KEPT - values.length + i);
  const svg = d3.create('svg').attr('viewBox', `0 0 ${width} ${height}`).attr('class', 'spark')
    .attr('aria-hidden', 'true').attr('preserveAspectRatio', 'none');
  const defined = (value) => value !== null;
  svg.append('path').attr('class', 'area')
    .attr('d', d3.area().defined(defined).x(place).y0(height).y1((value) => y(value))(values));
  svg.append('path').attr('class', 'curve')
    .attr('d', d3.line().defined(defined).x(place).y((value) => y(value))(values));
  return svg.node();
}

function showTile({name, value, format, unit, note, fleeting}) {
  if (!tiles.has(name)) {
    const parts = {value: el('span', {class: 'figure'}), unit: el('span', {class: 'unit'}),
      note: el('span', {class: 'note'}), spark: el('div', {})};
    byId('tiles').append(el('div', {class: 'tile'}, el('dt', {}, name),
      el('dd', {}, parts.value, ' ', parts.unit, parts.note, parts.spark)));
    tiles.set(name, parts);
    history.set(name, []);
  }
  const parts = tiles.get(name), values = history.get(name);
  values.push(value);
  if (values.length > KEPT) values.shift();
  const latest = value ?? (fleeting ? null : values.filter((v) => v !== null).at(-1) ?? null);
  parts.value.textContent = latest === null ? '–' : format(latest);
  parts.unit.textContent = unit;
  parts.note.textContent = note ?? '';
  parts.spark.replaceChildren(sparkline(values));
}

function show(series) {
  const at = performance.now();
  const started = (reading) => reading.get('process_start_time_seconds');
  if (before && started(series) !== started(before.series)) before.series = new Map(); // all zero
  const then = before ?? {series, at: at - EVERY_MS};
  for (const tile of measure(series, then.series, (at - then.at) / 1000)) showTile(tile);
  before = {series, at};
}

async function read() {
  if (reading) return; // a slow server is asked once at a time
  reading = true;
  const problem = byId('live-problem');
  const series = await fetchMetrics().catch((fault) => {
    problem.textContent = `${fault.message} The figures are those of before.`;
    return null;
  });
  reading = false;
  problem.hidden = series !== null;
  if (series !== null) show(series);
}

function schedule() {
  clearInterval(timer);
  timer = null;
  if (paused || document.hidden) return;
  read();
  timer = setInterval(read, EVERY_MS);
}

export function startLive() {
  document.addEventListener('visibilitychange', schedule);
  byId('pause').addEventListener('click', () => {
    paused = !paused;
    byId('pause').setAttribute('aria-pressed', String(paused));
    schedule();
  });
  schedule();
}
