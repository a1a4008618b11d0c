/**
 * A stand-in for S3: one process, objects in memory, HTTP on the loopback interface.
 *
 * It knows what `@backloghq/opslog-s3` asks for (PutObject with If-None-Match and If-Match, GetObject with Range,
 * HeadObject, DeleteObject, ListObjectsV2 with prefix and continuation) and answers 501 to the rest: a request that it
 * does not understand must not look like one that it carried out. Signatures are not checked. The s3rver package would
 * be the ready-made alternative, but it ignores If-None-Match on PutObject, which is all there is to the backend's lock.
 */
import { createHash } from "node:crypto";
import { createServer } from "node:http";

/** One request as the log keeps it. @typedef {{ method: string, key: string, body: string, status: number }} Logged */

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" };

/** @param {string} text */
const xml = (text) => text.replace(/[&<>"']/g, (char) => ESCAPES[/** @type {keyof typeof ESCAPES} */ (char)]);

/** @param {Buffer} body */
const etagOf = (body) => `"${createHash("md5").update(body).digest("hex")}"`;

/**
 * The byte range that a request asks for.
 *
 * @param {string | undefined} header value of `Range`
 * @param {number} size of the object
 * @returns {[number, number] | null | undefined} first byte and the one after the last; null where there is none of it,
 *   undefined where all of it is meant
 */
function rangeOf(header, size) {
  const match = /^bytes=(\d+)-(\d*)$/.exec(header ?? "");
  if (match === null) return undefined;
  const start = Number(match[1]);
  const end = match[2] === "" ? size : Math.min(Number(match[2]) + 1, size);
  return start < size && start < end ? [start, end] : null;
}

export class S3Server {
  /** Objects by key, all of one bucket. @type {Map<string, Buffer>} */
  objects = new Map();

  /** The requests so far, oldest first. @type {Logged[]} */
  log = [];

  /** Keys per page of a listing. S3 gives 1000; a few show whether the pages are followed. */
  pageSize = 1000;

  /** Answers of 500 still to be given. @type {{ matches: (method: string, key: string) => boolean, left: number }[]} */
  #failures = [];

  #server = createServer((request, response) => {
    /** @type {Buffer[]} */
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => this.#answer(request, response, Buffer.concat(chunks)));
  });

  /** @returns {Promise<string>} the address to give to a client as `endpoint` */
  async start() {
    await /** @type {Promise<void>} */ (new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve)));
    const address = /** @type {import("node:net").AddressInfo} */ (this.#server.address());
    return `http://127.0.0.1:${address.port}`;
  }

  /** @returns {Promise<void>} */
  stop() {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  /**
   * Answers 500 to the next requests that fit, and does nothing else with them.
   *
   * @param {(method: string, key: string) => boolean} matches which ones
   * @param {number} [times] how many of them
   * @returns {() => number} how many of these answers were not yet given
   */
  fail(matches, times = 1) {
    const failure = { matches, left: times };
    this.#failures.push(failure);
    return () => failure.left;
  }

  /** Takes back the answers of 500 that were not given. */
  heal() {
    this.#failures = [];
  }

  /**
   * @param {import("node:http").IncomingMessage} request
   * @param {import("node:http").ServerResponse} response
   * @param {Buffer} body
   */
  #answer(request, response, body) {
    const { method = "", headers } = request;
    const url = new URL(request.url ?? "/", "http://s3");
    // path style: /bucket/key
    const key = decodeURIComponent(url.pathname.split("/").slice(2).join("/"));
    const send = (/** @type {number} */ status, /** @type {Record<string, string | number>} */ head = {}, content = Buffer.alloc(0)) => {
      this.log.push({ method, key, body: body.toString(), status });
      response.writeHead(status, { "x-amz-request-id": "stand-in", "content-length": content.length, ...head });
      response.end(method === "HEAD" ? undefined : content);
    };
    const refuse = (/** @type {number} */ status, /** @type {string} */ code) => {
      const text = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`;
      send(status, { "content-type": "application/xml" }, Buffer.from(text));
    };

    const failure = this.#failures.find(({ matches, left }) => left > 0 && matches(method, key));
    if (failure !== undefined) {
      failure.left -= 1;
      return refuse(500, "InternalError");
    }
    // chunks with checksums between them would be stored as content
    if ((headers["content-encoding"] ?? "").includes("aws-chunked")) return refuse(501, "NotImplemented");

    const stored = this.objects.get(key);
    const etag = stored && etagOf(stored);
    switch (method) {
      case "GET":
        if (key === "") {
          if (url.searchParams.get("list-type") !== "2" || url.searchParams.has("delimiter")) return refuse(501, "NotImplemented");
          return send(200, { "content-type": "application/xml" }, Buffer.from(this.#list(url.searchParams)));
        }
      // falls through: a HEAD is a GET without the content, which `send` leaves out
      case "HEAD": {
        if (stored === undefined) return refuse(404, "NoSuchKey");
        const range = rangeOf(headers.range, stored.length);
        if (range === null) return refuse(416, "InvalidRange");
        if (range === undefined) return send(200, { etag: String(etag) }, stored);
        const [start, end] = range;
        const head = { etag: String(etag), "content-range": `bytes ${start}-${end - 1}/${stored.length}` };
        return send(206, head, stored.subarray(start, end));
      }
      case "PUT": {
        if (key === "" || headers["x-amz-copy-source"] !== undefined) return refuse(501, "NotImplemented");
        if (headers["if-none-match"] === "*" && stored !== undefined) return refuse(412, "PreconditionFailed");
        if (headers["if-match"] !== undefined && headers["if-match"] !== etag) return refuse(412, "PreconditionFailed");
        this.objects.set(key, body);
        return send(200, { etag: etagOf(body) });
      }
      case "DELETE":
        // that there was none is no failure in S3
        this.objects.delete(key);
        return send(204);
      default:
        return refuse(501, "NotImplemented");
    }
  }

  /** @param {URLSearchParams} query */
  #list(query) {
    const prefix = query.get("prefix") ?? "";
    const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
    const limit = Math.min(Number(query.get("max-keys") ?? this.pageSize), this.pageSize);
    // S3 orders by the bytes of the keys
    const keys = [...this.objects.keys()]
      .filter((key) => key.startsWith(prefix))
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      .filter((key) => after === "" || Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0);
    const page = keys.slice(0, limit);
    const more = keys.length > page.length;
    const contents = page.map((key) => {
      const body = /** @type {Buffer} */ (this.objects.get(key));
      return `<Contents><Key>${xml(key)}</Key><Size>${body.length}</Size><ETag>${xml(etagOf(body))}</ETag></Contents>`;
    });
    return (
      `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` +
      `<Prefix>${xml(prefix)}</Prefix><KeyCount>${page.length}</KeyCount><MaxKeys>${limit}</MaxKeys>` +
      `<IsTruncated>${more}</IsTruncated>${more ? `<NextContinuationToken>${xml(page.at(-1) ?? "")}</NextContinuationToken>` : ""}` +
      `${contents.join("")}</ListBucketResult>`
    );
  }
}
