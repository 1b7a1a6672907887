// Uploads one file. A small one is sent in one request, which is repeated where the connection breaks off; a larger one goes
// on where it was (tus 1.0, the core protocol).
"use strict";
{
  const SMALL = 1e6; // bytes
  const TRIES = 6; // without a byte received
  const LONGEST_WAIT = 30_000; // ms
  const TUS = { "Tus-Resumable": "1.0.0" };

  class Refused extends Error {} // the server's own words; to try again does not help

  const wait = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
  const isForLater = (status) => status === 0 || status === 408 || status === 423 || status === 429 || status >= 500;

  function sizeWords(size) {
    if (size < 1000) return `${size} B`;
    const [amount, unit] = size < 1e6 ? [size / 1e3, "kB"] : size < 1e9 ? [size / 1e6, "MB"] : [size / 1e9, "GB"];
    return `${amount.toFixed(1).replace(/\.0$/, "")} ${unit}`;
  }

  function encode(text) {
    return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  }

  // One request. Resolves with the answer, whatever its status; with status 0 where there was none.
  function ask(method, url, headers, { body = null, progress = null, signal }) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open(method, url);
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      if (progress) request.upload.addEventListener("progress", (event) => progress(event.loaded));
      request.addEventListener("loadend", () => (signal.aborted ? reject(signal.reason) : resolve(request)));
      signal.addEventListener("abort", () => request.abort(), { once: true });
      request.send(body);
    });
  }

  function explain(answer) {
    try {
      return JSON.parse(answer.responseText).detail || answer.statusText;
    } catch {
      return answer.status === 413 ? "The server takes no file of this size." : `The server answered ${answer.status} ${answer.statusText}.`;
    }
  }

  // One file on its way to the server
  class Upload {
    constructor(file, { url, token, signal, show }) {
      Object.assign(this, { file, url, signal, show, location: "", offset: 0, silent: 0 });
      this.headers = { "X-CSRFToken": token, Accept: "application/json" };
      this.isWhole = file.size <= SMALL;
    }

    async run() {
      while (!this.location || this.offset < this.file.size) {
        const [before, place] = [this.offset, this.location];
        const answer = this.isWhole ? await this.sendWhole() : this.location ? await this.continue() : await this.begin();
        const isAtAnotherByte = answer.status === 409 && this.location;
        const isNoNearer = answer.status < 300 && this.offset === before && this.location === place;
        if (isForLater(answer.status) || isAtAnotherByte || isNoNearer) await this.pause(before);
        else if (answer.status >= 300) throw new Refused(explain(answer));
        else this.silent = 0;
      }
      return this.location.replace(/\/$/, "").split("/").pop();
    }

    async sendWhole() {
      const url = `${this.url}?filename=${encodeURIComponent(this.file.name)}`;
      const headers = { ...this.headers, "Content-Type": this.file.type || "application/octet-stream" };
      const progress = (loaded) => this.show(loaded);
      const answer = await ask("POST", url, headers, { body: this.file, progress, signal: this.signal });
      if (answer.status === 201) {
        this.location = answer.getResponseHeader("Location");
        this.offset = this.file.size;
      }
      return answer;
    }

    async begin() {
      const metadata = [`filename ${encode(this.file.name)}`];
      if (this.file.type) metadata.push(`filetype ${encode(this.file.type)}`);
      const headers = { ...this.headers, ...TUS, "Upload-Length": this.file.size, "Upload-Metadata": metadata.join(",") };
      const answer = await ask("POST", this.url, headers, this);
      if (answer.status === 201) this.location = answer.getResponseHeader("Location");
      return answer;
    }

    async continue() {
      const begin = this.offset;
      const headers = { ...this.headers, ...TUS, "Upload-Offset": begin, "Content-Type": "application/offset+octet-stream" };
      const progress = (loaded) => this.show(begin + loaded);
      const answer = await ask("PATCH", this.location, headers, { body: this.file.slice(begin), progress, signal: this.signal });
      if (answer.status < 300) this.offset = Number(answer.getResponseHeader("Upload-Offset")) || this.offset;
      return answer;
    }

    // The connection, or the server, is away: wait, and ask how much has arrived
    async pause(before) {
      this.silent += 1;
      if (this.silent > TRIES) throw new Error("The connection was lost.");
      this.show(this.offset, "Connection lost, retrying");
      await wait(Math.min(LONGEST_WAIT, 500 * 2 ** this.silent));
      if (this.signal.aborted) throw this.signal.reason;
      if (!this.location) return;
      const answer = await ask("HEAD", this.location, { ...this.headers, ...TUS }, this);
      if (answer.status === 404 || answer.status === 410) Object.assign(this, { location: "", offset: 0 });
      else if (answer.status < 300) this.offset = Number(answer.getResponseHeader("Upload-Offset"));
      if (this.offset > before) this.silent = 0;
    }
  }

  window.mercury.Upload = Upload;
  window.mercury.Refused = Refused;
  window.mercury.sizeWords = sizeWords;
}
