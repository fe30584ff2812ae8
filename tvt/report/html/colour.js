/* The diverging scale: vermillion for harm, blue for help, the paper's own colour for nothing; mixed in OKLab. */

/** The colour that a CSS variable has now, as [r, g, b] in 0..255. */
function resolved(variable) {
  const probe = el("span", { style: { color: `var(${variable})` } });
  document.body.append(probe);
  const found = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  probe.remove();
  return found;
}

const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const gamma = (v) => (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);

/** sRGB to OKLab (Björn Ottosson's matrices). */
function toLab(rgb) {
  const [r, g, b] = rgb.map((v) => linear(v / 255));
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/** OKLab to sRGB. */
function fromLab([lightness, a, b]) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((v) => Math.round(255 * gamma(Math.min(1, Math.max(0, v)))));
}

/** Relative luminance (WCAG 2). */
function luminance(rgb) {
  const [r, g, b] = rgb.map((v) => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** A function from a value to its ground and the ink that is read best on it. The scale ends at `limit`. */
function diverging(limit) {
  const [harm, zero, help] = ["--harm-deep", "--scale-zero", "--help-deep"].map((name) => toLab(resolved(name)));
  return (value) => {
    const share = Math.min(1, Math.abs(value) / limit) ** 0.85;
    const end = value < 0 ? harm : help;
    const ground = fromLab(zero.map((v, at) => v + share * (end[at] - v)));
    const light = luminance(ground);
    const ink = 1.05 / (light + 0.05) > (light + 0.05) / 0.0575 ? "#fff" : "#14181d";
    return { ground: `rgb(${ground.join(",")})`, ink };
  };
}
