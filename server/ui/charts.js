// charts.js - what the charts have in common: d3, colours of both themes, a frame with axes.
// The scales, axes and curves are d3's; colours are safe for colour-blind eyes: orange against
// purple for differences, cividis for gates, Okabe and Ito's set for classes.

export const d3 = globalThis.d3;

export const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
};

// In the dark the middle is dark too: what is usual recedes, what differs glows.
const DARK_DIVERGING = ['#cdbcff', '#8d74e8', '#4b3d86', '#20232a', '#7a4a12', '#d98324', '#ffd08a'];

export function divergingScale(most) {
  const steps = isDark() ? DARK_DIVERGING : d3.range(7).map((i) => d3.interpolatePuOr(i / 6));
  const domain = steps.map((_, i) => most * (i / 3 - 1));
  return d3.scaleLinear().domain(domain).range(steps).interpolate(d3.interpolateLab).clamp(true);
}

export const gateScale = () => d3.scaleSequential(d3.interpolateCividis).domain([0, 1]).clamp(true);

const CLASS_COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];
const CLASS_DASHES = [null, '6 2', '2 2', '8 2 2 2', '4 4', '10 3'];
export const MOST_CLASSES = CLASS_COLOURS.length;
export const classColour = (i) => CLASS_COLOURS[i % MOST_CLASSES];
export const classDash = (i) => CLASS_DASHES[i % MOST_CLASSES];

// Mean of consecutive values, at most `count` of them: a screen has no room for more.
export function bin(values, count) {
  if (values.length <= count) return Array.from(values);
  return d3.range(count).map((i) => d3.mean(values.slice(Math.floor(i * values.length / count),
    Math.floor((i + 1) * values.length / count))));
}

// An <svg> with titled axes; draw(plot, x, y) fills it. Sizes are of the viewBox: it scales.
export function chart({title, x, y, xLabel, yLabel, width = 340, height = 210, draw,
  xTicks = 5, yTicks = 5, xFormat = null, yFormat = null, left = 54}) {
  const margin = {top: 8, right: 12, bottom: 38, left};
  const svg = d3.create('svg').attr('viewBox', `0 0 ${width} ${height}`).attr('class', 'chart')
    .attr('role', 'img').attr('aria-label', title);
  x.range([margin.left, width - margin.right]);
  y.range([height - margin.bottom, margin.top]);
  const xAxis = d3.axisBottom(x).ticks(xTicks, xFormat).tickSizeOuter(0);
  const yAxis = d3.axisLeft(y).ticks(yTicks, yFormat).tickSizeOuter(0);
  svg.append('g').attr('class', 'axis').call(xAxis)
    .attr('transform', `translate(0,${height - margin.bottom})`);
  svg.append('g').attr('class', 'axis').call(yAxis)
    .attr('transform', `translate(${margin.left},0)`);
  svg.append('text').attr('class', 'axis-label').attr('text-anchor', 'middle')
    .attr('x', (margin.left + width - margin.right) / 2).attr('y', height - 4).text(xLabel);
  svg.append('text').attr('class', 'axis-label').attr('text-anchor', 'middle')
    .attr('transform', `translate(11,${(margin.top + height - margin.bottom) / 2}) rotate(-90)`)
    .text(yLabel);
  draw(svg.append('g'), x, y);
  return svg.node();
}

// A key to a chart's marks: [{text, className | colour, dash}].
export function key(entries) {
  const list = document.createElement('ul');
  list.className = 'key';
  for (const {text, className, colour, dash} of entries) {
    const swatch = d3.create('svg').attr('viewBox', '0 0 22 10').attr('aria-hidden', 'true');
    swatch.append('line').attr('x1', 1).attr('x2', 21).attr('y1', 5).attr('y2', 5)
      .attr('class', className ?? 'curve').style('stroke', colour ?? null)
      .style('stroke-dasharray', dash ?? null);
    const item = document.createElement('li');
    item.append(swatch.node(), text);
    list.append(item);
  }
  return list;
}
