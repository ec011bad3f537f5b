// Makes a component of a module. The package's own command takes one file of WIT alone; its function takes a folder.
import { writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [builder, sourcePath, witPath, worldName, output] = process.argv.slice(1);
const { componentize } = await import(pathToFileURL(builder));
// What is left is what the host gives every plugin: clocks, random numbers, standard output and error.
const disableFeatures = ["http", "fetch-event"];
const { component } = await componentize({ sourcePath, witPath, worldName, disableFeatures });
await writeFile(output, component);
