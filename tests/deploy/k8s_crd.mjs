// k8s_crd.mjs - reads a JSON array of objects from standard input and validates those custom
// resources for which there are published models: KEDA's and the Prometheus operator's. Prints how
// many it has checked. The packages are those of the working directory's node_modules.
import { readFileSync } from "node:fs";

const folders = {
  ScaledObject: "keda/keda.sh/v1alpha1",
  ServiceMonitor: "prometheus-operator/monitoring.coreos.com/v1",
};
let count = 0;
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const folder = folders[object.kind];
  if (folder === undefined) continue;
  if (!folder.endsWith(object.apiVersion)) throw new Error(`${object.kind}: ${object.apiVersion}`);
  const path = `${process.cwd()}/node_modules/@kubernetes-models/${folder}/${object.kind}.js`;
  const model = (await import(path))[object.kind];
  new model(object).validate();
  count++;
}
console.log(count);
