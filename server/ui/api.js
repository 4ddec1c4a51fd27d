// api.js - the daemon's HTTP interface, as the page uses it: the only module that knows paths.
// Answers are turned into what the views need; what this daemon does not offer becomes null.

import {byId} from './dom.js';

const RETRIES = 5;

export class Problem extends Error {
  constructor(status, document) {
    super(document?.detail ?? document?.title ?? `The server answered with status ${status}.`);
    this.status = status;
  }
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- keys: asked for once the daemon wants one -----------------------------------------------

let asking = null;

function askForKey() {
  asking ??= new Promise((done) => {
    const dialog = byId('key-dialog');
    dialog.addEventListener('close', () => {
      sessionStorage.setItem('senetd-key', byId('key').value.trim());
      asking = null;
      done();
    }, {once: true});
    dialog.showModal();
  });
  return asking;
}

// ---- one request -------------------------------------------------------------------------------

async function send(path, options) {
  const key = sessionStorage.getItem('senetd-key');
  const headers = {...options.headers, ...(key ? {Authorization: `Bearer ${key}`} : {})};
  try {
    return await fetch(path, {...options, headers, cache: 'no-store'});
  } catch {
    throw new Problem(0, {detail: 'The server cannot be reached.'});
  }
}

// Waits and tries again while the server is full or loading, as its Retry-After says.
async function request(path, options = {}) {
  let answer;
  for (let tries = 0; tries < RETRIES; tries++) {
    answer = await send(path, options);
    if (answer.status === 401 && !options.quiet) await askForKey();
    else if (answer.status !== 503 && answer.status !== 429) break;
    else await pause(1000 * Math.min(Number(answer.headers.get('Retry-After')) || 1, 10));
  }
  if (answer.ok) return answer;
  throw new Problem(answer.status, await answer.json().catch(() => null));
}

const getJson = async (path) => (await request(path)).json();

// Null where the daemon is too old for the path or its options, or has nothing to tell.
async function optional(promise) {
  try {
    return await promise;
  } catch (problem) {
    if (problem instanceof Problem && [400, 404, 405].includes(problem.status)) return null;
    throw problem;
  }
}

function form(files) {
  const data = new FormData();
  for (const file of files) data.append('image', file, file.name);
  return data;
}

// ---- what the views ask ------------------------------------------------------------------------

export async function waitUntilReady(onWait) {
  for (;;) {
    const answer = await send('/readyz', {}).catch(() => null);
    if (answer?.ok) return;
    onWait(answer === null ? 'the server cannot be reached' : 'the model is being loaded');
    await pause(1000);
  }
}

export const fetchModel = () => getJson('/model');

export const CLASSIFY_QUERY = 'topk=5&excitations=full';

// One photo: {top_k, excitations: [{layer, name, values: Float32Array…}], timing_ms, id}.
export async function classify(file) {
  const answer = await request(`/classify?${CLASSIFY_QUERY}`, {method: 'POST', body: form([file])});
  const document = await answer.json();
  const [result] = document.results;
  if (result.error) throw new Problem(result.error.status, result.error);
  for (const block of result.excitations) block.values = Float32Array.from(block.values);
  return {...result, document, timing: document.timing_ms, batchSize: document.batch_size,
    id: answer.headers.get('X-Request-Id')};
}

// Mean and deviation of every gate of a block over the photos served since start; with a label,
// over those that were taken for that class. Null where there are none.
async function statistics(layer, label) {
  const query = label === undefined ? '' : `&class=${encodeURIComponent(label)}`;
  const found = await optional(getJson(`/se-weights?layer=${layer}${query}`));
  if (!found?.images || !found.mean) return null;
  return {mean: found.mean, std: found.std, images: found.images};
}

// ---- the reference: the model's profile where it has one, else what was served so far -----------

const STD_FLOOR = 0.01; // a gate that hardly ever moves must not make a great score of nothing
const FEWEST = 2; // photos before a running mean says anything
const MOST_CLASSES = 64; // of a model whose profile of all classes is short enough to ask for

let profiled = null; // whether the model has a profile; asked once
const profiles = new Map(); // layer -> its profile with classes

async function fetchProfile() {
  const profile = await optional(getJson('/reference'));
  profiled = profile !== null;
  return profile && profile.layers.map(({mean, std}) =>
    ({mean, std, floor: profile.least_std, images: profile.images, source: 'profile'}));
}

// What is usual, a block each: [{mean, std, floor, images, source}]; null where nothing is.
export async function fetchReferences(model) {
  const profile = profiled === false ? null : await fetchProfile();
  if (profile) return profile;
  const found = await Promise.all(model.blocks.map((block) => statistics(block.layer)));
  if (found.length === 0 || found.some((block) => block === null || block.images < FEWEST)) {
    return null;
  }
  return found.map((block) => ({...block, floor: STD_FLOOR, source: 'running'}));
}

async function profileClasses(model, layer) {
  if (!profiled || model.classes > MOST_CLASSES) return [];
  if (!profiles.has(layer)) {
    const asked = optional(getJson(`/reference?layer=${layer}`));
    asked.catch(() => profiles.delete(layer)); // to be asked again once the server is back
    profiles.set(layer, asked);
  }
  return (await profiles.get(layer))?.layers[0].classes ?? [];
}

// A class's mean gates: {mean, std, images, source}, from the profile or from what was served; or
// null.
export async function classStatistics(model, layer, label) {
  const known = (await profileClasses(model, layer)).find((entry) => entry.label === label);
  if (known) return {...known, source: 'from the model’s profile'};
  const served = await statistics(layer, label);
  return served && {...served, source: 'served since start'};
}

// Labels of the classes that have statistics, those of most photos first.
export async function seenClasses(model) {
  const known = await profileClasses(model, 0);
  const seen = known.length > 0 ? known : (await getJson('/se-weights')).classes ?? [];
  return [...seen].sort((a, b) => b.images - a.images).map((entry) => entry.label);
}

// What the prediction loses without each block's attention:
// {label, probability, blocks: [{layer, name, change, label}]}; null where not offered.
export async function explain(photo, mode) {
  const answer = await optional(request(`/explain?block=all&mode=${mode}`,
    {method: 'POST', body: form([photo.file])}));
  if (answer === null) return null;
  const {top_k: [{label, probability}], blocks} = await answer.json();
  return {label, probability, blocks: blocks.map((block) => ({layer: block.layer,
    name: block.name, change: block.probability_change, label: block.top_k[0].label}))};
}

// Prometheus' text: Map from a series such as `name{a="b"}` to its value.
export async function fetchMetrics() {
  const series = new Map();
  const answer = await request('/metrics', {quiet: true, signal: AbortSignal.timeout(5000)});
  for (const line of (await answer.text()).split('\n')) {
    const cut = line.lastIndexOf(' ');
    if (cut > 0 && !line.startsWith('#')) series.set(line.slice(0, cut), Number(line.slice(cut)));
  }
  return series;
}
