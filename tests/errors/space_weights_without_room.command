3 simulate sn40l llama3_8b --phase prefill --prompt 64 --set units.pmu.count=4
