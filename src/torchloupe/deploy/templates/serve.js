"use strict";

const at = (id) => document.getElementById(id);
const MOST_FILES = 64;
const SIDE = 2048; // longer images are made smaller before they are sent
let token = new URLSearchParams(location.hash.slice(1)).get("token") || sessionStorage.getItem("token") || "";
let stream = null;
let canLook = true;

if (location.hash) history.replaceState(null, "", location.pathname); // the token leaves the address bar

function say(text, bad = false) {
  at("notice").textContent = text;
  at("notice").classList.toggle("bad", bad);
}

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  if (response.status === 401) {
    at("door").hidden = false;
    at("zone").hidden = true;
    at("about").textContent = "This server asks for its token.";
  }
  let content = {};
  try { content = await response.json(); } catch { content = { error: "no answer from the server" }; }
  if (!response.ok) throw new Error(content.hint && response.status !== 422 ? `${content.error}: ${content.hint}` : content.error);
  return content;
}

async function open() {
  try {
    const { classes, can_look } = await ask("/classes");
    canLook = can_look;
    at("door").hidden = true;
    at("zone").hidden = false;
    const shown = classes.slice(0, 12).join(", ");
    at("about").textContent = `One of ${classes.length} classes: ${shown}${classes.length > 12 ? " …" : ""}. Images go to this server and nowhere else.`;
    sessionStorage.setItem("token", token);
    say("");
  } catch (error) {
    say(token ? error.message : "", Boolean(token));
  }
}

async function shrink(file) {
  let picture;
  try { picture = await createImageBitmap(file, { imageOrientation: "from-image" }); } catch { return file; }
  const scale = SIDE / Math.max(picture.width, picture.height);
  if (scale >= 1) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return (await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95))) || file;
}

function bar(name, share) {
  const row = document.createElement("li");
  const label = document.createElement("span");
  const number = document.createElement("span");
  const meter = document.createElement("meter");
  label.textContent = name;
  number.textContent = `${(100 * share).toFixed(1)} %`;
  number.className = "share";
  meter.value = share;
  meter.setAttribute("aria-label", name);
  row.append(label, number, meter);
  return row;
}

async function show(file, name) {
  const card = at("card").content.firstElementChild.cloneNode(true);
  const part = (selector) => card.querySelector(selector);
  const image = part("img");
  image.src = URL.createObjectURL(file);
  image.alt = name;
  image.addEventListener("error", () => { image.hidden = true; });
  part("figcaption").textContent = name;
  part(".label").textContent = "…";
  part(".where").hidden = true;
  at("results").prepend(card);
  try {
    const sent = await shrink(file);
    const answer = await ask("/predict?top=5", { method: "POST", body: sent });
    part(".label").textContent = answer.labels.length ? answer.labels.join(", ") : answer.label;
    part(".unsure").hidden = !answer.unsure;
    part(".bars").replaceChildren(...Object.entries(answer.probabilities).map(([k, v]) => bar(k, v)));
    part(".where").hidden = !canLook;
    part(".where").addEventListener("click", () => look(card, sent, name), { once: true });
  } catch (error) {
    part(".label").textContent = "No answer";
    const reason = document.createElement("li");
    reason.textContent = error.message;
    part(".bars").replaceChildren(reason);
  }
}

async function look(card, file, name) {
  const button = card.querySelector(".where");
  button.disabled = true;
  try {
    const seen = await ask("/look", { method: "POST", body: file });
    card.querySelector("img").src = `data:image/png;base64,${seen.png}`;
    card.querySelector("figcaption").textContent = `${name}: where it saw “${seen.label}” (Grad-CAM of layer ${seen.layer})`;
    button.hidden = true;
  } catch (error) {
    say(error.message, true);
    button.disabled = false;
  }
}

async function take(files) {
  const chosen = [...files].slice(0, MOST_FILES);
  say(files.length > MOST_FILES ? `The first ${MOST_FILES} of ${files.length} images` : "");
  for (const file of chosen) await show(file, file.name || "pasted image");
}

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    say("There is no camera that this page may use. It needs https, or this machine itself.", true);
    return;
  }
  at("video").srcObject = stream;
  await at("video").play();
  at("viewer").hidden = false;
}

function closeCamera() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  at("viewer").hidden = true;
}

function shoot() {
  const video = at("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((picture) => picture && show(picture, "camera"), "image/jpeg", 0.95);
}

at("files").addEventListener("change", (event) => { take(event.target.files); });
at("camera").addEventListener("click", openCamera);
at("close").addEventListener("click", closeCamera);
at("shoot").addEventListener("click", shoot);
at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  open();
});
addEventListener("dragover", (event) => { event.preventDefault(); at("zone").classList.add("over"); });
addEventListener("dragleave", () => at("zone").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("zone").classList.remove("over");
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });
open();
