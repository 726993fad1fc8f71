3 simulate sn40l llama3_8b --phase decode --context 8 --set units.mesh.rows=4
