// app.js - the page's state and who shows it: photos come in, are classified one after another,
// and the view whose tab is chosen is redrawn. Each view lives in a module of its own.

import * as api from './api.js';
import {NO_BLOCKS, showAttention, startAttention} from './attention.js';
import {showClasses, startClasses} from './classes.js';
import {comparedPhotos, showCompare, startCompare} from './compare.js';
import {announce, byId, copyText, el, formatPercent, notify} from './dom.js';
import {startIntake} from './intake.js';
import {startLive} from './live.js';
import {showNumbers, startNumbers} from './numbers.js';

const VIEWS = ['attention', 'compare', 'classes', 'numbers'];
const AT_ONCE = 2; // photos in flight: while one is computed the next is decoded

const state = {
  photos: [], // {number, name, file, url, state: 'waiting' | 'done' | 'failed', …the answer}
  current: null,
  references: null, // a block's {mean, std, z(per photo), images, source}
  view: 'attention',
};

let model = null;
let inFlight = 0;

const donePhotos = () => state.photos.filter((photo) => photo.state === 'done');

// ---- views -------------------------------------------------------------------------------------

// References with the photo's distances from them, as standard scores.
function referencesOf(photo) {
  return state.references && photo.excitations.map((block, i) => {
    const {mean, std, floor} = state.references[i];
    const z = Float64Array.from(block.values, (value, channel) =>
      (value - mean[channel]) / Math.max(std[channel], floor));
    return {...state.references[i], z};
  });
}

function draw() {
  byId('views').hidden = state.current === null;
  if (state.current === null) return;
  const photo = state.current, references = referencesOf(photo);
  if (state.view === 'attention') showAttention(photo, references);
  if (state.view === 'compare') showCompare(donePhotos(), references);
  if (state.view === 'classes') showClasses(donePhotos(), references);
  if (state.view === 'numbers') showNumbers(photo, references);
  showCurl();
}

const quoteShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// Quoted for curl too, which gives , ; and " in a file's name a meaning of their own.
function part({name}) {
  if (/^[\w.][\w.-]*$/.test(name)) return `-F image=@${name}`;
  return `-F ${quoteShell(`image=@"${name.replace(/["\\]/g, '\\$&')}"`)}`;
}

function showCurl() {
  const pair = comparedPhotos(), {origin} = location, last = model.blocks.length - 1;
  const profiled = state.references?.[0].source === 'profile';
  const query = api.CLASSIFY_QUERY + (profiled ? '&relative=1' : '');
  const line = {
    attention: () => `${part(state.current)} '${origin}/classify?${query}'`,
    numbers: () => `${part(state.current)} '${origin}/classify?${query}'`,
    compare: () => (pair ?? []).map(part).concat(`'${origin}/compare'`).join(' '),
    classes: () => `'${origin}${profiled ? '/reference' : '/se-weights'}?layer=${last}'`,
  }[state.view]();
  byId('curl').textContent = `curl ${line}`;
}

function chooseView(view, focus) {
  state.view = view;
  for (const name of VIEWS) {
    const tab = byId(`tab-${name}`), chosen = name === view;
    tab.setAttribute('aria-selected', String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    byId(`view-${name}`).hidden = !chosen;
    if (chosen && focus) tab.focus();
  }
  draw();
}

function startTabs() {
  const steps = {ArrowRight: 1, ArrowLeft: -1};
  VIEWS.forEach((view, i) => {
    byId(`tab-${view}`).addEventListener('click', () => chooseView(view));
    byId(`tab-${view}`).addEventListener('keydown', (event) => {
      const next = event.key === 'Home' ? 0 : event.key === 'End' ? VIEWS.length - 1
        : event.key in steps ? (i + steps[event.key] + VIEWS.length) % VIEWS.length : null;
      if (next === null) return;
      event.preventDefault();
      chooseView(VIEWS[next], true);
    });
  });
  chooseView(state.view);
}

// ---- photos ------------------------------------------------------------------------------------

function makeThumb(photo) {
  const radio = el('input', {type: 'radio', name: 'photo', value: photo.number, disabled: true});
  radio.addEventListener('change', () => select(photo));
  const image = el('img', {src: photo.url, alt: ''});
  image.addEventListener('error', () => image.remove());
  photo.thumb = {radio, what: el('span', {class: 'what'}, 'waiting…')};
  const close = el('button', {type: 'button', class: 'close', 'aria-label': `Remove ${photo.name}`}, '×');
  close.addEventListener('click', () => remove(photo));
  photo.thumb.item = el('div', {class: 'thumb'},
    el('label', {}, radio, el('span', {class: 'frame'}, image),
      el('span', {class: 'who'}, photo.name), photo.thumb.what), close);
  byId('photos').append(photo.thumb.item);
}

function select(photo) {
  state.current = photo;
  if (photo) photo.thumb.radio.checked = true;
  draw();
}

function remove(photo) {
  URL.revokeObjectURL(photo.url);
  photo.thumb.item.remove();
  state.photos = state.photos.filter((other) => other !== photo);
  byId('tray').hidden = state.photos.length === 0;
  document.body.classList.toggle('started', state.photos.length > 0);
  if (state.current === photo) select(donePhotos().at(-1) ?? null);
  else draw();
  (byId('photos').querySelector('input:checked') ?? byId('files')).focus();
}

async function refreshReferences() {
  const references = await api.fetchReferences(model).catch(() => null);
  if (references !== null) state.references = references;
}

async function classifyNext() {
  const photo = state.photos.find((candidate) => candidate.state === 'waiting');
  if (!photo || inFlight >= AT_ONCE) return;
  inFlight++;
  photo.state = 'running';
  photo.thumb.what.textContent = 'looking…';
  try {
    Object.assign(photo, await api.classify(photo.file), {state: 'done'});
    if (photo.document.model.sha256 !== model.sha256) {
      notify('The server has another model now; load this page again.');
    }
    const [best] = photo.top_k;
    photo.thumb.what.textContent = `${best.label} ${formatPercent(best.probability)}`;
    photo.thumb.radio.disabled = false;
    announce(`${photo.name}: ${best.label}, ${formatPercent(best.probability)}`);
    if (state.references?.[0].source !== 'profile') await refreshReferences();
    if (state.photos.includes(photo)) select(photo);
  } catch (problem) {
    photo.state = 'failed';
    photo.thumb.item.classList.add('failed');
    photo.thumb.what.textContent = problem.message;
    notify(`${photo.name}: ${problem.message}`);
    if (!(problem instanceof api.Problem)) throw problem; // a fault of the page: to the console
  } finally {
    inFlight--;
    classifyNext();
  }
}

let numbered = 0;

function addPhotos(files) {
  for (const file of files) {
    const photo = {number: ++numbered, file, name: file.name || `pasted-${numbered}`,
      url: URL.createObjectURL(file), state: 'waiting'};
    state.photos.push(photo);
    makeThumb(photo);
  }
  byId('tray').hidden = false;
  document.body.classList.add('started');
  for (let i = 0; i < AT_ONCE; i++) classifyNext();
}

// ---- the frame -----------------------------------------------------------------------------------

function startTheme() {
  const apply = (theme) => {
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    draw();
  };
  byId('theme').value = localStorage.getItem('senetd-theme') ?? 'auto';
  byId('theme').addEventListener('change', (event) => {
    localStorage.setItem('senetd-theme', event.target.value);
    apply(event.target.value);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  apply(byId('theme').value);
}

async function start() {
  startTheme();
  startLive();
  await api.waitUntilReady((why) => { byId('model').textContent = `${why}…`; });
  model = await api.fetchModel();
  byId('model').textContent = `${model.name} · ${model.architecture}, ${model.classes} classes, ` +
    `${model.blocks.length} blocks · ${model.precision}, ${model.kernels}`;
  if (model.blocks.length === 0) { // the other views have nothing to show
    notify(NO_BLOCKS);
    byId('tabs').hidden = true;
  }
  await refreshReferences();
  startAttention(model);
  startCompare(showCurl);
  startClasses(model);
  startNumbers();
  startTabs();
  byId('copy').addEventListener('click', async () => {
    announce(await copyText(byId('curl')) ? 'Copied' : 'Press Control C to copy');
    byId('copy').textContent = 'Copied';
    setTimeout(() => { byId('copy').textContent = 'Copy'; }, 1500);
  });
  startIntake(addPhotos);
  document.body.dataset.ready = 'true';
}

start().catch((problem) => {
  notify(problem.message);
  throw problem;
});
