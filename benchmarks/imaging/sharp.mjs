// sharp, one decode for the renditions and one for the formats, as quick as its documentation shows.
// Speaks the protocol of worker.py.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import sharp from "sharp";

sharp.cache(false);
sharp.concurrency(1);

const WHITE = "#ffffff";
const QUALITY = 85;

const pixels = ({ data, info }) =>
  sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });

const letterboxed = (image, width, height) =>
  image
    .resize(width, height, { fit: "contain", background: WHITE })
    .jpeg({ quality: QUALITY })
    .toBuffer();

const small = async (body) => {
  const standard = await sharp(body)
    .autoOrient()
    .flatten({ background: WHITE })
    .resize(800, 600, { fit: "inside", withoutEnlargement: true })
    .toColourspace("srgb")
    .raw()
    .toBuffer({ resolveWithObject: true });
  const { width, height } = standard.info;
  const extend = (image, w, h, to) => {
    const left = Math.floor((to[0] - w) / 2);
    const top = Math.floor((to[1] - h) / 2);
    return image
      .extend({ left, top, right: to[0] - w - left, bottom: to[1] - h - top, background: WHITE })
      .jpeg({ quality: QUALITY })
      .toBuffer();
  };
  const thumb = pixels(standard);
  return {
    standard: await extend(pixels(standard), width, height, [800, 600]),
    thumb:
      width <= 150 && height <= 150
        ? await extend(thumb, width, height, [150, 150])
        : await letterboxed(thumb, 150, 150),
    model: await pixels(standard).resize(224, 224, { fit: "cover" }).raw().toBuffer(),
  };
};

const full = async (body, effort) => {
  const picture = await sharp(body)
    .autoOrient()
    .toColourspace("srgb")
    .raw()
    .toBuffer({ resolveWithObject: true });
  const makers = {
    webp: () => pixels(picture).webp({ quality: QUALITY, effort: effort.webp }),
    jpeg: () =>
      pixels(picture).flatten({ background: WHITE }).jpeg({ quality: QUALITY, progressive: true }),
    png: () => pixels(picture).png(effort.png),
  };
  const made = {};
  for (const name of effort.formats) made[name] = await makers[name]().toBuffer();
  return made;
};

const memory = (name) => {
  try {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(
      readFileSync("/proc/self/status", "utf8"),
    );
    return Number(found[1]) * 1024;
  } catch {
    return name === "VmHWM" ? process.resourceUsage().maxRSS * 1024 : process.memoryUsage().rss;
  }
};

// What imports took for a moment is not the job's; see proc_pid_clear_refs(5).
const forgetPeak = () => {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // Elsewhere than on Linux.
  }
};

const answer = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);

const pngSettings = [];
for (const compressionLevel of [1, 2, 3, 4, 5, 6]) {
  for (const adaptiveFiltering of [false, true]) {
    pngSettings.push({ compressionLevel, adaptiveFiltering });
  }
}
answer({
  versions: { sharp: sharp.versions.sharp, "sharp's libvips": sharp.versions.vips },
  png_settings: pngSettings,
});

for await (const line of createInterface({ input: process.stdin })) {
  const { photo, jobs, effort, keep } = JSON.parse(line);
  const body = readFileSync(photo);
  forgetPeak();
  const before = memory("VmRSS");
  try {
    const started = process.cpuUsage();
    let made = {};
    if (jobs.includes("small")) made = { ...made, ...(await small(body)) };
    if (jobs.includes("full")) made = { ...made, ...(await full(body, effort)) };
    const spent = process.cpuUsage(started);
    const bytes = {};
    for (const [name, data] of Object.entries(made)) bytes[name] = data.length;
    if (keep) {
      mkdirSync(keep, { recursive: true });
      for (const [name, data] of Object.entries(made)) writeFileSync(join(keep, name), data);
    }
    answer({
      cpu_ms: (spent.user + spent.system) / 1000,
      bytes,
      peak_bytes: memory("VmHWM") - before,
    });
  } catch (error) {
    answer({ error: String(error) });
  }
}
