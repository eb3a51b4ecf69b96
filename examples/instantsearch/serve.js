// Serves this folder on a free port of this machine, so that the page has another origin than Miroir.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
const kinds = { ".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript" };

export async function serve(port = 0) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    const file = normalize(join(folder, pathname === "/" ? "index.html" : decodeURIComponent(pathname)));
    try {
      if (!file.startsWith(folder) || file.split(sep).includes("..")) throw new Error("outside");
      const content = await readFile(file);
      response.writeHead(200, { "content-type": kinds[extname(file)] ?? "application/octet-stream" }).end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((listening) => server.listen(port, "127.0.0.1", listening));
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { origin } = await serve(Number(process.env.PORT ?? 8080));
  console.log(`${origin}/?url=http://127.0.0.1:7700&key=SEARCH_KEY`);
}
