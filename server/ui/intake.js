// intake.js - how photos come in: dropped, pasted, chosen, or taken by the camera.

import {byId, notify} from './dom.js';

const SAMPLE = '/ui/cat.jpg';

const isPhoto = (file) => file.type.startsWith('image/') || /\.(p[pgn]m|tga|psd)$/i.test(file.name);

function listenToDrops(add) {
  let depth = 0; // of dragenter: children tell of themselves too
  const mark = () => document.body.classList.toggle('dropping', depth > 0);
  addEventListener('dragenter', (event) => {
    event.preventDefault();
    depth++;
    mark();
  });
  addEventListener('dragleave', () => {
    depth = Math.max(0, depth - 1);
    mark();
  });
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    depth = 0;
    mark();
    add([...event.dataTransfer.files]);
  });
}

// A live picture where the page may use the camera (localhost or https); elsewhere the phone's
// own camera through a file input.
async function takePhoto(add) {
  if (!navigator.mediaDevices?.getUserMedia) {
    byId('capture').click();
    return;
  }
  const dialog = byId('camera-dialog'), video = byId('camera-video');
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment'}});
  } catch (problem) {
    notify(`The camera cannot be used: ${problem.message}.`);
    return;
  }
  video.srcObject = stream;
  byId('camera-shoot').onclick = () => {
    const canvas = document.createElement('canvas');
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext('2d').drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      if (blob) add([new File([blob], 'camera.jpg', {type: 'image/jpeg'})]);
    }, 'image/jpeg', 0.92);
    dialog.close();
  };
  byId('camera-close').onclick = () => dialog.close();
  dialog.addEventListener('close', () => stream.getTracks().forEach((track) => track.stop()),
    {once: true});
  dialog.showModal();
}

// add(files) is called with every lot of photos that comes in.
export function startIntake(add) {
  const addPhotos = (files) => {
    const photos = files.filter(isPhoto);
    notify(photos.length < files.length ? 'Only photos can be classified.' : null);
    if (photos.length > 0) add(photos);
  };
  listenToDrops(addPhotos);
  addEventListener('paste', (event) => {
    const files = [...event.clipboardData.files];
    if (files.length > 0) addPhotos(files);
  });
  for (const id of ['files', 'capture']) {
    byId(id).addEventListener('change', (event) => {
      addPhotos([...event.target.files]);
      event.target.value = '';
    });
  }
  byId('camera').addEventListener('click', () => takePhoto(addPhotos));
  byId('sample').addEventListener('click', async () => {
    try {
      const blob = await (await fetch(SAMPLE)).blob();
      addPhotos([new File([blob], 'cat.jpg', {type: 'image/jpeg'})]);
    } catch {
      notify('The sample cannot be fetched: the server cannot be reached.');
    }
  });
}
