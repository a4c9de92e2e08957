// Makes sounds, one after the other, away from the page. Stands after the code that opens audiodiff.wasm.

let synth;

onmessage = async ({ data }) => {
  try {
    if (data.wasm) {
      await wasm_bindgen({ module_or_path: data.wasm });
      synth = new wasm_bindgen.Synth();
      postMessage({ classes: synth.classes() });
      return;
    }
    const begun = performance.now();
    const sound = synth.sound(data.recipe);
    const milliseconds = performance.now() - begun;
    const [rate, channels, samples, wav] = [sound.sample_rate(), sound.channels(), sound.samples(), sound.wav()];
    sound.free();
    postMessage({ recipe: data.recipe, rate, channels, samples, wav, milliseconds }, [samples.buffer, wav.buffer]);
  } catch (error) {
    postMessage({ recipe: data.recipe, trouble: error.message ?? String(error) });
  }
};
