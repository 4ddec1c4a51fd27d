// Fetch an image's classes and excitations:  node excitations.mjs cat.jpg [http://localhost:8080]
import { readFile } from "node:fs/promises";

const [photo, server = "http://localhost:8080"] = process.argv.slice(2);
const form = new FormData();
form.append("image", new Blob([await readFile(photo)]), photo);
const answer = await fetch(`${server}/classify?topk=3`, { method: "POST", body: form });
const document = await answer.json();
if (!answer.ok) throw new Error(document.detail);
const [result] = document.results;
for (const { label, probability } of result.top_k) console.log(label, probability);
for (const { name, channels, mean, std } of result.excitations) console.log(name, channels, mean, std);
